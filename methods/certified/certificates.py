"""From votes under Gaussian noise to radii within which no perturbation changes the winner."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import beta


@dataclass(frozen=True)
class Certificates:
    """What is certified of N images by P parts.

    Attributes:
        prediction: class c_A of each ``[N]``, chosen by votes of their own.
        counts: further votes of each part for that class ``[P, N]``.
        samples: votes n that each part has cast.
        radius: certified l2 radius of each ``[N]``; 0 where nothing is certified.
    """

    prediction: np.ndarray
    counts: np.ndarray
    samples: int
    radius: np.ndarray


def lower_bound(counts: np.ndarray, samples: int, alpha: float) -> np.ndarray:
    """One-sided Clopper-Pearson lower bounds at level ``alpha`` of the probabilities behind binomial counts.

    The α-quantile of Beta(k, n - k + 1), and 0 for k = 0: with probability at least 1 - α not above the truth.

    Args:
        counts: successes k, of any shape.
        samples: trials n.
        alpha: in (0, 1).
    """
    counts = np.asarray(counts)
    return np.where(counts > 0, beta.ppf(alpha, np.maximum(counts, 1), samples - counts + 1), 0.0)


def certified_radius(lower: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """R = Σ_p Φ⁻¹(p_p) / √(Σ_p 1/σ_p²), at least 0, for one part or two (eq. R1, R3).

    A perturbation δ_p of part p leaves its classifier's probability of c_A at Φ(Φ⁻¹(p_p) - ‖δ_p‖/σ_p) or more. With one part,
    c_A stays the winner while that exceeds 1/2: R = σ Φ⁻¹(p). With two, while their sum exceeds 1, which is
    ‖δ_1‖/σ_1 + ‖δ_2‖/σ_2 < Φ⁻¹(p_1) + Φ⁻¹(p_2); the shortest δ beyond has length R. One of the terms may be negative. Both are
    tight for half-spaces.

    Args:
        lower: lower bounds p_p of the probabilities of c_A ``[P, …]``, P at most 2.
        sigmas: noise of each part.
    """
    assert len(lower) == len(sigmas) <= 2
    scores = ndtri(np.asarray(lower)).sum(0)
    return np.maximum(scores, 0) / np.sqrt(sum(1 / sigma**2 for sigma in sigmas))


def released_radii(lower: np.ndarray, sigma: float) -> dict[str, np.ndarray]:
    """Radii as dual smoothing's released code computes them from two halves' bounds ``[2, …]``: neither is a certificate.

    Each half has its own radius R_p = σ max(0, Φ⁻¹(p_p)), and ``root`` is √(R_1² + R_2²) (CIFAR), ``mean`` (R_1 + R_2)/√2
    (ImageNet). Against equation R1, ``root`` is too large where the halves differ, and both where one of them is below 1/2.
    """
    own = sigma * np.maximum(ndtri(np.asarray(lower)), 0)
    return {"root": np.sqrt(np.square(own).sum(0)), "mean": own.sum(0) / np.sqrt(2)}
