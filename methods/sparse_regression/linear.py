"""Penalized linear and logistic regression as a composite problem, and its solution path over falling penalty levels."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from regbench.methods.sparse_regression.likelihoods import Likelihood
from regbench.methods.sparse_regression.penalties import Penalty, soft_threshold
from regbench.methods.sparse_regression.solvers import SOLVERS, Solver, minimize

StrongRule = Literal["sequential", "released", "none"]


class PenalizedLinear:
    """F(β) = f(β) + Σ_{j≥1} p_λ(β_j), split into Ψ = f + Σ h and λ ‖·‖₁ (equations 5 to 7).

    L = max(κ λ_max(XᵀX) / n, the penalty's curvature), κ being 1 for squared error and 1/4 for the logistic loss: f is convex
    and Σ h concave, so that the larger bounds the size of their sum's curvature. (The package's step is that of f alone.)

    Args:
        x: ones, then covariates ``[n, 1 + p]``.
        y: outcomes ``[n]``.
        likelihood: of y given xβ.
        penalty: of every coefficient but the intercept.
        level: λ ≥ 0.
        curvature: κ λ_max(XᵀX) / n, or a bound of it, where known.
    """

    def __init__(
        self, x: Tensor, y: Tensor, likelihood: Likelihood, penalty: Penalty, level: float, curvature: float | None = None
    ) -> None:
        self.x, self.y, self.likelihood, self.penalty, self.level = x, y, likelihood, penalty, level
        if curvature is None:
            curvature = likelihood.curvature * torch.linalg.matrix_norm(x, 2).square().item() / len(x)
        self.convex_lipschitz = curvature
        self.lipschitz = max(curvature, float(penalty.curvature))

    def origin(self) -> Tensor:
        """0 ``[1 + p]``."""
        return self.x.new_zeros(self.x.shape[1])

    def value(self, x: Tensor) -> Tensor:
        """F."""
        return self.likelihood.value(self.x @ x, self.y) + self.penalty.value(x[1:], self.level).sum()

    def gradient(self, x: Tensor) -> Tensor:
        """∇Ψ ``[1 + p]``."""
        gradient = self.loss_gradient(x)
        gradient[1:] += self.penalty.smooth_slope(x[1:], self.level)
        return gradient

    def loss_gradient(self, x: Tensor) -> Tensor:
        """∇f = Xᵀ slope / n ``[1 + p]``."""
        return self.likelihood.slope(self.x @ x, self.y) @ self.x / len(self.x)

    def prox(self, x: Tensor, step: float) -> Tensor:
        """Soft thresholding of all but the intercept."""
        return torch.cat([x[:1], soft_threshold(x[1:], step * self.level)])


def largest_level(x: Tensor, y: Tensor, likelihood: Likelihood) -> Tensor:
    """λ_max: the largest |x_jᵀ slope| / n with an intercept alone, from which on β = 0 is stationary. A scalar."""
    null = likelihood.link(y.mean()).expand_as(y)
    return (likelihood.slope(null, y) @ x[:, 1:] / len(x)).abs().max()


def left_out(slopes: Tensor, level: float, last: float, rule: StrongRule) -> Tensor:
    """Which covariates a rule holds for 0 at a level, bool ``[p]``; see ``Path``.

    Args:
        slopes: x_jᵀ r / n at the last level's solution ``[p]``.
        level: λ.
        last: λ₋, the level before.
        rule: its name.
    """
    if rule == "none":
        return torch.zeros_like(slopes, dtype=torch.bool)
    return slopes.abs() / (2 if rule == "released" else 1) < 2 * level - last


@dataclass(frozen=True)
class Path:
    """How a solution is reached.

    Attributes:
        solver: the solver.
        length: levels from λ_max to 0, equally spaced, of which those above the target are passed through.
        strong_rule: which covariates are left out at a level. ``sequential``: those with |x_jᵀ r| / n < 2λ - λ₋ at the last
            level's solution. ``released``: 2n in the place of n, which leaves out nearly all that are 0. ``none``: none. A
            check of all covariates afterwards brings back those that were left out wrongly, so the solution is the same.
        tolerance: of each solve.
        limit: iterations of each solve.
    """

    solver: Solver
    length: int
    strong_rule: StrongRule
    tolerance: float
    limit: int

    def follow(self, x: Tensor, y: Tensor, likelihood: Likelihood, penalty: Penalty, target: float) -> tuple[Tensor, int]:
        """The coefficients ``[1 + p]`` at the target level, reached with warm starts from λ_max, and the iterations spent."""
        largest = largest_level(x, y, likelihood).item()
        spaced = torch.linspace(largest, 0, self.length, dtype=torch.float64).tolist()
        levels = [level for level in spaced if level > target]
        whole = PenalizedLinear(x, y, likelihood, penalty, largest)
        beta = whole.origin()
        beta[0] = likelihood.link(y.mean())
        total, last = 0, largest
        for level in [*levels, target]:
            whole.level = level
            beta, steps = self._solve(whole, beta, last)
            total, last = total + steps, level
        return beta, total

    def _solve(self, whole: PenalizedLinear, beta: Tensor, last: float) -> tuple[Tensor, int]:
        """The solution at the problem's level from that at the last one."""
        kept = ~left_out(whole.loss_gradient(beta)[1:], whole.level, last, self.strong_rule) | (beta[1:] != 0)
        total = 0
        while True:
            places = torch.cat([kept.new_ones(1), kept]).nonzero()[:, 0]
            part = PenalizedLinear(
                whole.x[:, places], whole.y, whole.likelihood, whole.penalty, whole.level, whole.convex_lipschitz
            )
            found, steps = minimize(SOLVERS[self.solver](part, beta[places]), part, self.tolerance, self.limit)
            beta = torch.zeros_like(beta).index_copy(0, places, found)
            total += steps
            # What was left out is 0, where the penalty's slope is anything within ± λ.
            wrong = (whole.loss_gradient(beta)[1:].abs() > whole.level + self.tolerance * whole.lipschitz) & ~kept
            if not wrong.any():
                return beta, total
            kept = kept | wrong
