"""Bandwidths of kernel density estimates on a line, for many samples at once: ``[p, n]`` to ``[p, 1]``."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Bandwidth = Literal["silverman", "scott", "isj"]

# Cells of the histogram, terms of its cosine series, and levels of the fixed point of the improved Sheather-Jones rule.
CELLS = 1024
LEVELS = 7
BISECTIONS = 50


def spread(v: Tensor) -> Tensor:
    """The standard deviation, or the interquartile range over 1.349 where that is smaller and not 0."""
    deviation = v.std(1, keepdim=True)
    low, high = torch.quantile(v, v.new_tensor([0.25, 0.75]), dim=1, keepdim=True)
    robust = (high - low) / 1.3489795003921634
    found = torch.where(robust > 0, torch.minimum(deviation, robust), deviation)
    return torch.where(found > 0, found, 1.0)


def silverman(v: Tensor) -> Tensor:
    """σ (3n/4)^(-1/5)."""
    return spread(v) * (0.75 * v.shape[1]) ** -0.2


def scott(v: Tensor) -> Tensor:
    """1.059 σ n^(-1/5)."""
    return 1.059 * spread(v) * v.shape[1] ** -0.2


def improved_sheather_jones(v: Tensor) -> Tensor:
    """The plug-in rule without a Gaussian reference, by the fixed point of diffusion (Botev, Grotowski and Kroese, 2010).

    h = √t R with t = (2n√π ‖f''‖²_t)^(-2/5), where the norm of the second derivative comes from those of higher ones, level by
    level, over the cosine series of a histogram on a range R that is 1.2 times the data's. Bisection over log t; Silverman's
    rule where there is no fixed point.
    """
    n = v.shape[1]
    low, high = v.amin(1, keepdim=True), v.amax(1, keepdim=True)
    reach = torch.where(high > low, 1.2 * (high - low), 1.0)
    cells = ((v - low + (high - low) / 10) / reach * CELLS).long().clamp(0, CELLS - 1)
    histogram = v.new_zeros(len(v), CELLS).scatter_add_(1, cells, torch.full_like(v, 1 / n))
    k = torch.arange(1, CELLS, device=v.device, dtype=v.dtype)
    middle = (torch.arange(CELLS, device=v.device, dtype=v.dtype) + 0.5) / CELLS
    squares = (histogram @ torch.cos(math.pi * middle[:, None] * k)).square()  # (a_k / 2)², [p, K]

    def norm(order: int, t: Tensor) -> Tensor:
        """The squared norm of the density's derivative of that order after diffusion for a time t ``[p, 1]``."""
        terms = (2 * order * k.log() - k.square() * math.pi**2 * t).exp() * squares
        return 2 * math.pi ** (2 * order) * terms.sum(1, keepdim=True)

    def excess(t: Tensor) -> Tensor:
        value = norm(LEVELS, t)
        for order in range(LEVELS - 1, 1, -1):
            factor = math.prod(range(1, 2 * order, 2)) / math.sqrt(2 * math.pi) * (1 + 0.5 ** (order + 0.5)) / 3
            value = norm(order, (2 * factor / (n * value)) ** (2 / (3 + 2 * order)))
        return t - (2 * n * math.sqrt(math.pi) * value) ** -0.4

    lower, upper = torch.full_like(reach, math.log(1e-10)), torch.full_like(reach, math.log(0.1))
    solvable = (excess(lower.exp()) < 0) & (excess(upper.exp()) > 0)
    for _ in range(BISECTIONS):
        center = (lower + upper) / 2
        below = excess(center.exp()) < 0
        lower, upper = torch.where(below, center, lower), torch.where(below, upper, center)
    return torch.where(solvable, reach * (lower / 2).exp(), silverman(v))


BANDWIDTHS: dict[Bandwidth, Callable[[Tensor], Tensor]] = {
    "silverman": silverman,
    "scott": scott,
    "isj": improved_sheather_jones,
}
