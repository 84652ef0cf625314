"""Tests and intervals of paired differences that hold at whatever number of units one stops.

**Theorem** (Lai 1976; Wang & Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
variance", arXiv:2310.03722). Let d_1, d_2, … be Gaussian with mean μ and unknown variance. Give the standardized effect the
prior N(0, τ²) and the scale Haar's measure; the ratio of the marginal likelihoods of μ ≠ 0 and μ = 0 is then a likelihood ratio
of what is left of the data when their scale is divided out. Under μ = 0 it is a nonnegative martingale of mean 1, whatever the
variance: the chance that it ever reaches 1/α is at most α (Ville's inequality). So p_n = 1 / max of E_m over m ≤ n is a p-value
at any stopping time, and those μ at which the test of d - μ has not reached 1/α make a confidence sequence.

With ν = n - 1, the t statistic t = √n · mean / sd, and covariances proportional to I + c·11ᵀ,

    E_n = g^(-1/2) · [(1 + x) / (1 + x / g)]^(n/2),   x = t² / (ν (1 + n c)),   g = (1 + n (c + τ²)) / (1 + n c).

c = 0 is the independent case. Differences of replicates whose splits of the data overlap are correlated; Nadeau and Bengio
("Inference for the Generalization Error", Machine Learning 52, 2003) put their correlation at the share of test rows, so that
c = test rows / other rows, and t / √(1 + n c) is their corrected t statistic.

The first two units are not looked at: a martingale may be watched from any time on.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIOR = 1.0
"""τ², the prior variance of the standardized effect; 0.5 or 4 instead of 1 cost or save a unit or two."""

PRIOR_OF_CORRELATED = 4.0
"""The same where units share data: small effects can never be shown then, and large ones twice as often as with 1."""

FIRST_LOOK = 3
"""The least number of units that is looked at."""

# Sums of equal numbers in another order differ by as much: what varies less, relative to its size, does not vary.
ROUNDING = 1e-12

Array = NDArray[np.float64]


def moments(differences: ArrayLike) -> tuple[Array, Array]:
    """Mean and standard deviation (n - 1) of the first 1, 2, … differences.

    Args:
        differences: ``[..., N]``.

    Returns:
        Both ``[..., N]``; the first standard deviation is nan, and one that is rounding alone is 0.
    """
    d = np.asarray(differences, dtype=float)
    n = np.arange(1, d.shape[-1] + 1)
    # About the first value, so that no digits are lost where all are large and nearly equal.
    first = d[..., :1]
    mean = np.cumsum(d - first, axis=-1) / n
    square = np.cumsum((d - first) ** 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.maximum(square - n * mean**2, 0.0) / np.where(n > 1, n - 1, np.nan))
    mean = first + mean
    largest = np.maximum.accumulate(np.abs(d), axis=-1)
    return mean, np.where(sd <= ROUNDING * largest, 0.0 * sd, sd)


def e_values(differences: ArrayLike, correlation: float = 0.0, prior: float | None = None) -> Array:
    """E_n of the first n differences against a mean of zero, for each n.

    Args:
        differences: ``[..., N]``.
        correlation: c, of units that share data; see the module.
        prior: τ², by default as above.

    Returns:
        ``[..., N]``; 1 before ``FIRST_LOOK``, and where all differences are zero. Where all have another same value, the limit
        g^((n - 1) / 2) of ever smaller variances.
    """
    d = np.asarray(differences, dtype=float)
    mean, sd = moments(d)
    n = np.arange(1, d.shape[-1] + 1)
    g = _gain(n, correlation, prior)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = n * mean**2 / (sd**2 * (n - 1) * (1 + n * correlation))
        log_ratio = np.where(np.isinf(x), np.log(g), np.log1p(x) - np.log1p(x / g))
    found = np.exp(0.5 * (n * log_ratio - np.log(g)))
    same = (sd == 0) & (mean == 0)
    return np.where((n < FIRST_LOOK) | same, 1.0, found)


def p_values(differences: ArrayLike, correlation: float = 0.0) -> Array:
    """p_n of the first n differences, for each n: 1 over the largest E so far, at most 1.

    Args:
        differences: ``[..., N]``.
        correlation: c, of units that share data.
    """
    return np.minimum(1.0, 1.0 / np.maximum.accumulate(e_values(differences, correlation), axis=-1))


def half_widths(differences: ArrayLike, alpha: ArrayLike, correlation: float = 0.0, prior: float | None = None) -> Array:
    """Half of the width, at each n, of the interval of those means at which E_n is below 1/α; infinite while there is none.

    Args:
        differences: ``[..., N]``.
        alpha: ``[...]``, the chance that the sequence of intervals may ever miss the mean.
        correlation: c, of units that share data.
        prior: τ², by default as above.
    """
    d = np.asarray(differences, dtype=float)
    _, sd = moments(d)
    n = np.arange(1, d.shape[-1] + 1)
    g = _gain(n, correlation, prior)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # E < 1/α is (1 + x) / (1 + x / g) < k.
        k = (np.sqrt(g) / np.asarray(alpha, dtype=float)[..., None]) ** (2 / n)
        x = np.where(k < g, (k - 1) / (1 - k / g), np.inf)
        found = sd * np.sqrt(x * (n - 1) * (1 + n * correlation) / n)
    return np.where((n < FIRST_LOOK) | np.isinf(x), np.inf, found)


def interval(differences: Sequence[float], alpha: float, correlation: float = 0.0) -> tuple[float, float]:
    """The confidence sequence of the mean after these differences: what every interval so far has in common, and their mean.

    Outliers that come late may move the mean out of earlier intervals; an interval that holds it, too, misses no more often.

    Args:
        differences: of the units, in their order.
        alpha: the chance that it ever misses the mean.
        correlation: c, of units that share data.

    Returns:
        Its ends, infinite where nothing can be said yet. Where the intervals have nothing in common, which happens with a
        chance of α at most, the last value before.
    """
    if not len(differences):
        return -np.inf, np.inf
    mean, _ = moments(differences)
    half = half_widths(differences, alpha, correlation)
    low, high = np.maximum.accumulate(mean - half), np.minimum.accumulate(mean + half)
    last = int(np.flatnonzero(low <= high)[-1])
    return float(min(low[last], mean[-1])), float(max(high[last], mean[-1]))


def _gain(n: NDArray[np.int_], correlation: float, prior: float | None) -> Array:
    if prior is None:
        prior = PRIOR_OF_CORRELATED if correlation else PRIOR
    return np.asarray((1 + n * (correlation + prior)) / (1 + n * correlation), dtype=float)
