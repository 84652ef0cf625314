"""Samples of a one-dimensional Laplace distribution, and what a proximal operator that has learned it must be."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

SAMPLES, POINTS = 200_000, 401
# Where the operator and the regularizer are judged.
OPERATOR, REGULARIZER = 4.0, 2.0


@dataset("laplace_samples", help="Laplace(0, 1) samples, noise 1; its proximal operator and prior: 200,000 / 401 / 401 points")
def laplace_samples(split: int = 0) -> Data:
    """Samples ``[N, 1]`` of p(x) = e^(-|x|) / 2 to learn from.

    To judge by: y in [-4, 4] and sign(y) max(|y| - 1, 0), the proximal operator of -σ² log p for σ = 1, x in [-2, 2] and |x|,
    -σ² log p up to a constant; all ``[N, 1]``.
    """
    numbers = np.random.default_rng(split)
    splits = {"train": TensorDataset(torch.from_numpy(numbers.laplace(size=(SAMPLES, 1))).float())}
    for part in ("validation", "test"):
        y, x = (torch.from_numpy(numbers.uniform(-end, end, (POINTS, 1))) for end in (OPERATOR, REGULARIZER))
        splits[part] = TensorDataset(y, torch.nn.functional.softshrink(y, 1.0), x, x.abs())
    return Data("laplace_samples", **splits, meta={"shape": (1,), "sigma": 1.0}, pool=0)
