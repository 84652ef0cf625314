"""Entropies of attention, and a penalty on heads that are far from their thresholds."""

import math
from typing import Literal

import torch
from torch import Tensor

Reference = Literal["log", "causal"]
Statistics = Literal["head_mean", "per_query_mean", "per_query_sum"]

# Added inside the logarithm.
TINY = 1e-9


def row_entropies(rows: Tensor) -> Tensor:
    """E = -Σ_j a_j log(a_j + 10⁻⁹) ``[...]`` of attention rows ``[..., T]``."""
    return -(rows * (rows + TINY).log()).sum(-1)


def largest_entropy(context: int, reference: Reference = "log") -> float:
    """E_max = log T; ``causal``: ln(T!) / T, the mean over positions of what uniform causal attention has."""
    return math.log(context) if reference == "log" else math.lgamma(context + 1) / context


def entropy_penalty(
    entropies: Tensor, thresholds: Tensor, tolerance: float, largest: float, statistics: Statistics = "head_mean"
) -> Tensor:
    """(1/L) Σ_l (1/H) Σ_h δ² 1[|δ| > γ E_max] with δ = E - θ E_max (Algorithm 1); the indicator is a constant.

    ``head_mean``: E of a head is the mean over queries and the batch. ``per_query_mean``: δ is of each query, and its penalty
    the mean over queries and the batch. ``per_query_sum``, as released: the sum over both, B T times as much.

    Args:
        entropies: E ``[L, B, H, T]``.
        thresholds: θ ``[L, H]``.
        tolerance: γ.
        largest: E_max.
        statistics: which.
    """
    aims = (thresholds * largest)[:, None, :, None]
    found = entropies.mean((1, 3), keepdim=True) if statistics == "head_mean" else entropies
    deviation = found - aims
    penalty = torch.where(deviation.abs() > tolerance * largest, deviation.square(), 0.0)
    per_head = penalty.sum((1, 3)) if statistics == "per_query_sum" else penalty.mean((1, 3))
    return per_head.mean()
