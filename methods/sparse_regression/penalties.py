"""Separable penalties p_λ(t) = λ |t| + h(t) with smooth h: LASSO, SCAD and MCP, interchangeable.

The level λ and the concavity may be numbers or scalar tensors; everything is differentiable in both.
"""

from typing import Protocol

import torch
from torch import Tensor

from regbench.methods.method import Paper

# Of the accelerated gradient method that solves SCAD and MCP.
PAPER = Paper(
    "Accelerated gradient methods for sparse statistical learning with nonconvex penalties",
    "Yang, Asgharian, Bhatnagar",
    2024,
    "Statistics and Computing",
    "2009.10629",
)


class Penalty(Protocol):
    """What a solver asks of a penalty.

    Attributes:
        curvature: the largest |h''|.
    """

    curvature: float | Tensor

    def value(self, t: Tensor, level: float | Tensor) -> Tensor:
        """p_λ(t), in the shape of t."""

    def smooth_slope(self, t: Tensor, level: float | Tensor) -> Tensor:
        """h'(t), in the shape of t."""


class Lasso:
    """p_λ(t) = λ |t|."""

    curvature: float | Tensor = 0.0

    def value(self, t: Tensor, level: float | Tensor) -> Tensor:
        """λ |t|."""
        return level * t.abs()

    def smooth_slope(self, t: Tensor, level: float | Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(t)


class Scad:
    """SCAD (Fan and Li, 2001): LASSO near 0, constant from aλ on, a quadratic between.

    Args:
        a: where it gets flat, in units of λ; above 2.
    """

    def __init__(self, a: float | Tensor) -> None:
        self.a = a
        self.curvature: float | Tensor = 1 / (a - 1)

    def value(self, t: Tensor, level: float | Tensor) -> Tensor:
        """λ |t| up to λ; (2aλ|t| - t² - λ²) / (2(a - 1)) up to aλ; (a + 1) λ² / 2 beyond."""
        size, a = t.abs(), self.a
        middle = (2 * a * level * size - size**2 - level**2) / (2 * (a - 1))
        outer = torch.where(size <= a * level, middle, (a + 1) * level**2 / 2)
        return torch.where(size <= level, level * size, outer)

    def smooth_slope(self, t: Tensor, level: float | Tensor) -> Tensor:
        """0 up to λ; (λ - |t|) / (a - 1) up to aλ; -λ beyond; with the sign of t."""
        excess = (t.abs() - level) / (self.a - 1)
        return -t.sign() * torch.where(excess < level, excess.clamp(min=0), level)


class Mcp:
    """MCP (Zhang, 2010): the concavity sets in at 0, constant from γλ on.

    Args:
        gamma: where it gets flat, in units of λ; above 1.
    """

    def __init__(self, gamma: float | Tensor) -> None:
        self.gamma = gamma
        self.curvature: float | Tensor = 1 / gamma

    def value(self, t: Tensor, level: float | Tensor) -> Tensor:
        """λ |t| - t² / 2γ up to γλ; γλ² / 2 beyond."""
        size = t.abs()
        inner = level * size - size**2 / (2 * self.gamma)
        return torch.where(size <= self.gamma * level, inner, self.gamma * level**2 / 2)

    def smooth_slope(self, t: Tensor, level: float | Tensor) -> Tensor:
        """-t / γ up to γλ; -λ beyond, with the sign of t."""
        size = t.abs() / self.gamma
        return -t.sign() * torch.where(size < level, size, level)


def soft_threshold(t: Tensor, threshold: float | Tensor) -> Tensor:
    """S(t, κ) = sign(t) max(|t| - κ, 0): the proximal map of κ |·|."""
    return t.sign() * (t.abs() - threshold).clamp(min=0)
