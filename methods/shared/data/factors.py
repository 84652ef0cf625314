"""How images with known sources are split: random images to validate and to test, the rest to learn from."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data

# Of a set with at least five times as many; of a smaller one, a fifth each.
HELD_OUT = 10_000


def factor_data(name: str, images: Tensor, values: Tensor, sources: tuple[str, ...], *, split: int = 0) -> Data:
    """Splits images and their sources.

    Args:
        name: of the data set.
        images: ``[N, C, H, W]``, in [0, 1] or bytes.
        values: numbers of the sources' values ``[N, n_s]``, int64.
        sources: their names.
        split: the number of the split.
    """
    count = min(HELD_OUT, len(images) // 5)
    order = torch.from_numpy(np.random.default_rng(split).permutation(len(images)))
    rows = dict(zip(("test", "validation", "train"), order.tensor_split([count, 2 * count]), strict=True))
    splits = {part: TensorDataset(images[chosen], values[chosen]) for part, chosen in rows.items()}
    return Data(name, **splits, meta={"shape": tuple(images.shape[1:]), "sources": sources}, pool=len(images))
