"""How images with known sources are split: random images to validate and to test, the rest to learn from."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data

# Of a set with at least five times as many; of a smaller one, a fifth each.
HELD_OUT = 10_000
SPLIT_SEED = 0


def factor_data(name: str, images: Tensor, values: Tensor, sources: tuple[str, ...]) -> Data:
    """Splits images and their sources.

    Args:
        name: of the data set.
        images: ``[N, C, H, W]``, in [0, 1] or bytes.
        values: numbers of the sources' values ``[N, n_s]``, int64.
        sources: their names.
    """
    count = min(HELD_OUT, len(images) // 5)
    order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(len(images)))
    rows = dict(zip(("test", "validation", "train"), order.tensor_split([count, 2 * count]), strict=True))
    splits = {split: TensorDataset(images[chosen], values[chosen]) for split, chosen in rows.items()}
    return Data(name, **splits, meta={"shape": tuple(images.shape[1:]), "sources": sources})
