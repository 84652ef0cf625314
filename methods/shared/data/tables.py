"""Tables of numbers for regression: standardized, and split at random."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data


def table_data(
    name: str, x: np.ndarray, y: np.ndarray, *, validation: int, test: int, split: int = 0, generated: bool = False
) -> Data:
    """Inputs ``[N, d]`` and targets ``[N]``, both standardized by the training rows; ``meta["scale"]`` undoes it for errors.

    Args:
        name: the name of the data set.
        x: raw inputs.
        y: raw targets.
        validation: how many rows.
        test: how many rows.
        split: the number of the split.
        generated: whether the rows are this split's own, not those of all splits.
    """
    order = np.random.default_rng(split).permutation(len(y))
    places = dict(zip(("test", "validation", "train"), np.split(order, [test, test + validation]), strict=True))
    learned = places["train"]
    spread = x[learned].std(axis=0)
    x = (x - x[learned].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    scale = float(y[learned].std())
    y = (y - y[learned].mean()) / scale
    splits = {
        part: TensorDataset(*(torch.tensor(values[rows], dtype=torch.float32) for values in (x, y)))
        for part, rows in places.items()
    }
    return Data(name, **splits, meta={"shape": (x.shape[1],), "scale": scale}, pool=0 if generated else len(y))
