"""Divergences of Gaussian posteriors from the standard normal prior: in closed form, and in parts estimated from a mini-batch.

Posteriors are q(z | x) = N(μ, σ²) with independent coordinates, μ and σ ``[B, n_z]``.
"""

import math
from typing import NamedTuple

from torch import Tensor


def kl_loss(mean: Tensor, deviation: Tensor, log_deviation: Tensor | None = None) -> Tensor:
    """KL(q(z | x) || N(0, I)) / n_z, the mean over latents of -log σ + (μ² + σ² - 1) / 2; ``[B]``.

    Args:
        mean: μ ``[B, n_z]``.
        deviation: σ ``[B, n_z]``.
        log_deviation: log σ, where it is known better than by the logarithm of σ.
    """
    log_deviation = deviation.log() if log_deviation is None else log_deviation
    return (0.5 * (mean.square() + deviation.square() - 1) - log_deviation).mean(1)


class Decomposition(NamedTuple):
    """Three parts of a KL divergence whose sum is log q(z | x) - log p(z), each ``[B]``, estimated at one sample a row.

    Attributes:
        mutual_information: log q(z | x) - log q(z).
        total_correlation: log q(z) - Σ_j log q(z_j).
        dimension_wise_kl: Σ_j log q(z_j) - log p(z).
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def decompose(z: Tensor, mean: Tensor, deviation: Tensor, rows: int, log_deviation: Tensor | None = None) -> Decomposition:
    """The decomposition of Chen et al. (NeurIPS 2018), by weighted sampling within a mini-batch.

    log q(z_i) ≈ log Σ_k q(z_i | x_k) - log(B N), and likewise for each coordinate. Computed in double precision: samples may
    lie farther from other images' posteriors, in units of these' deviations, than single precision can square.

    Args:
        z: samples of the posteriors ``[B, n_z]``.
        mean: μ ``[B, n_z]``.
        deviation: σ ``[B, n_z]``.
        rows: N, how many training images there are.
        log_deviation: log σ, where it is known better than by the logarithm of σ.
    """
    log_deviation = (deviation.log() if log_deviation is None else log_deviation).double()
    dtype, z = z.dtype, z.double()
    standardized = (z[:, None] - mean.double()) * (-log_deviation).exp()
    each = _log_density(standardized) - log_deviation  # [B, B, n_z]: sample i under the posterior of image k
    own = each.diagonal().sum(0)
    correction = math.log(len(z) * rows)
    joint = each.sum(2).logsumexp(1) - correction
    product = (each.logsumexp(1) - correction).sum(1)
    parts = own - joint, joint - product, product - _log_density(z).sum(1)
    return Decomposition(*(part.to(dtype) for part in parts))


def annealed(value: float | Tensor, step: int, steps: int) -> float | Tensor:
    """A weight that rises linearly from 0 to its value within some steps, 0 of them meaning at once; ``step`` counts from 1."""
    return value * min(1.0, (step - 1) / steps) if steps else value


def _log_density(x: Tensor) -> Tensor:
    """Log N(x; 0, 1)."""
    return -0.5 * (x.square() + math.log(2 * math.pi))
