"""How close generated samples are to real ones, in features of images."""

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Fréchet distance between the normal distributions fitted to two feature sets ``[N, F]`` and ``[M, F]``.

    ||μ₁ - μ₂||² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Heusel et al., NeurIPS 2017, eq. 6, in other features than Inception's).
    """
    return gaussian_frechet(first.mean(0), np.cov(first, rowvar=False), second.mean(0), np.cov(second, rowvar=False))


def gaussian_frechet(
    mean: NDArray[np.float64], one: NDArray[np.float64], other_mean: NDArray[np.float64], two: NDArray[np.float64]
) -> float:
    """The same of two normal distributions with means ``[F]`` and covariances ``[F, F]``."""
    gap = mean - other_mean
    # tr (Σ₁ Σ₂)^½ from the eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½, which stays real where Σ₁ Σ₂ loses rank.
    root = _square_root(one)
    cross = np.sqrt(np.clip(scipy.linalg.eigvalsh(root @ two @ root), 0.0, None)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2.0 * cross)


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def class_entropy(classes: NDArray[np.int64], count: int) -> float:
    """Entropy in nats of the histogram of predicted classes ``[N]``: at most log ``count``, 0 when all samples look alike."""
    share = np.bincount(classes, minlength=count) / len(classes)
    return float(-(share[share > 0] * np.log(share[share > 0])).sum())


def spread(features: NDArray[np.float64]) -> float:
    """Root of the total variance of features ``[N, F]``: the I-Variance of MaEM-GAN (eq. 15) in these features."""
    return float(np.sqrt(features.var(0).sum()))


def recall(real: NDArray[np.float64], fake: NDArray[np.float64], neighbours: int = 3) -> float:
    """Share of real samples that lie in the estimated support of the generated ones (Kynkäänniemi et al., NeurIPS 2019, eq. 2).

    Args:
        real: features ``[N, F]``.
        fake: features ``[M, F]``.
        neighbours: a generated sample's ball reaches to its k-th nearest other generated sample.
    """
    generated = torch.from_numpy(fake)
    radius = torch.cdist(generated, generated).kthvalue(neighbours + 1, dim=1).values
    return (torch.cdist(torch.from_numpy(real), generated) <= radius).any(1).double().mean().item()
