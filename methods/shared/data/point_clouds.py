"""Optimal transport problems: embedded generators of pairs of histograms and the cost of moving mass between them.

A row of a split is one problem: a cost matrix ``[m, n]`` with maximum 1 and two histograms ``a [m]``, ``b [n]`` that sum to 1,
all float64. Each split is a pool, from which a run draws the problems that it solves.
"""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

POOL = {"train": 20, "validation": 200, "test": 200}


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances ``[..., m, n]`` of ``x [..., m, d]`` to ``y [..., n, d]``, divided by their maximum."""
    distances = ((x[..., :, None, :] - y[..., None, :, :]) ** 2).sum(-1)
    return distances / distances.max(axis=(-2, -1), keepdims=True)


def _problems(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> TensorDataset:
    return TensorDataset(*(torch.tensor(array, dtype=torch.float64) for array in (cost, a, b)))


@dataset("gaussian_clouds", help="64 points of N(0, I) to 8 of N((1, 0.5), I), uniform: 20 / 200 / 200 problems")
def gaussian_clouds(split: int = 0) -> Data:
    """Squared distances of two Gaussian clouds in the plane, with uniform marginals."""
    m, n = 64, 8
    splits = {}
    for (name, count), seed in zip(POOL.items(), np.random.SeedSequence(split).spawn(len(POOL)), strict=True):
        random = np.random.default_rng(seed)
        source = random.standard_normal((count, m, 2))
        target = random.normal([1.0, 0.5], 1.0, (count, n, 2))
        splits[name] = _problems(squared_distances(source, target), np.full((count, m), 1 / m), np.full((count, n), 1 / n))
    return Data("gaussian_clouds", **splits, meta={"shape": (m, n)}, pool=0)


@dataset("digit_histograms", help="pairs of scikit-learn's digits as 8x8 histograms of ink: 20 / 200 / 200 problems")
def digit_histograms(split: int = 0) -> Data:
    """Squared pixel distances between two images of digits; no image occurs in two problems.

    Blank pixels have no mass, so that some rows and columns of a plan are zero.
    """
    from sklearn.datasets import load_digits

    images = load_digits(return_X_y=True)[0]
    images = images[np.random.default_rng(split).permutation(len(images))]
    ink = images / images.sum(axis=1, keepdims=True)
    pixels = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij"), axis=-1).reshape(-1, 2)
    cost = squared_distances(pixels, pixels)
    splits, start = {}, 0
    for name, count in POOL.items():
        a, b = ink[start : start + count], ink[start + count : start + 2 * count]
        splits[name] = _problems(np.broadcast_to(cost, (count, 64, 64)), a, b)
        start += 2 * count
    return Data("digit_histograms", **splits, meta={"shape": (64, 64)}, pool=len(ink) // 2)
