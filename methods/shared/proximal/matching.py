"""Proximal matching: a loss that is minimal at the likeliest clean signal, and how its width shrinks (Fang et al., 2024)."""

import torch
from torch import Tensor


def proximal_matching(found: Tensor, target: Tensor, width: float | Tensor) -> Tensor:
    """mean_b [1 - exp(-‖f_b - x_b‖² / γ²)], a scalar, with the norm over all entries of a sample.

    As γ → 0 its minimizer tends to the mode of p(x | y), the proximal operator of -σ² log p at y; as γ → ∞, γ² times the loss
    tends to the mean squared norm.

    Args:
        found: f(y) ``[B, ...]``.
        target: x ``[B, ...]``.
        width: γ > 0.
    """
    return -torch.expm1(-(found - target).flatten(1).square().sum(1) / width**2).mean()


def stage(step: int, steps: int, stages: int) -> int:
    """The stage, from 0, of a step, from 0: equally long ones, the last one takes what is left."""
    return min(step // max(1, steps // stages), stages - 1)


def halving_width(stage: int, stages: int, final: float) -> float:
    """γ_s = γ_min 2^(S - 1 - s) of stage s = 0, …, S - 1: the schedule for images."""
    return final * 2.0 ** (stages - 1 - stage)


def linear_width(stage: int, stages: int, final: float) -> float:
    """γ_s = γ_min (S - s) of stage s = 0, …, S - 1: the schedule of the one-dimensional experiment, .5, .4, .3, .2, .1."""
    return final * (stages - stage)
