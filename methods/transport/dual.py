"""Sparsity-constrained optimal transport through its dual and semi-dual (Liu et al., ICLR 2023).

The problem is min ⟨T, C⟩ + Σ_j Ω(t_j) over plans T ≥ 0 with T1 = a and Tᵀ1 = b, where Ω(t) = γ/2 ‖t‖² if the column t has at
most k nonzeros, else ∞. Both duals are concave, have the same optimal value, and bound the (nonconvex) problem from below.
All shapes may have leading axes: many problems are then solved as one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from regbench.methods.errors import ConfigError
from regbench.methods.transport.linear_program import solve_with_potentials
from regbench.methods.transport.smoothing import convexified_cost, repaired, smoothed_dual
from regbench.methods.transport.sparsity import (
    conjugate_nonnegative,
    conjugate_simplex,
    maximizer_nonnegative,
    maximizer_simplex,
    simplex_threshold,
)

# Smoothing at the start, relative to the largest gain of an entry, its decrease from stage to stage, and how many there may be.
FIRST_SMOOTHING, SMOOTHING_DECREASE, STAGES = 0.3, 0.2, 14
# The gap that is enough, relative to the largest cost or to the value.
GAP = 1e-7
# Pairs that L-BFGS remembers of a smoothed dual, which bends sharply.
MEMORY = 30


@dataclass(frozen=True, eq=False)
class DualObjective(ABC):
    """A concave function of potentials, to be maximized from zero.

    Attributes:
        cost: C ``[..., m, n]``.
        a: masses of the rows ``[..., m]``.
        b: masses of the columns ``[..., n]``.
        quadratic_weight: γ > 0, a number or a scalar tensor, in units of the cost.
        max_nonzeros: k ≥ 1, nonzeros per column; None is no limit.

    Raises:
        ConfigError: γ or k is out of range.
    """

    cost: Tensor
    a: Tensor
    b: Tensor
    quadratic_weight: float | Tensor
    max_nonzeros: int | None = None

    def __post_init__(self) -> None:
        if self.quadratic_weight <= 0:
            raise ConfigError(f"quadratic_weight must be positive, not {float(self.quadratic_weight)}: without it solve the LP")
        if self.max_nonzeros is not None and self.max_nonzeros < 1:
            raise ConfigError(f"max_nonzeros must be at least 1, not {self.max_nonzeros}")

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of potentials of one problem."""

    @abstractmethod
    def value(self, potentials: Tensor) -> Tensor:
        """The objective ``[...]`` at potentials ``[..., size]``."""

    @abstractmethod
    def plan(self, potentials: Tensor) -> Tensor:
        """The plan ``[..., m, n]`` whose columns maximize the conjugates at these potentials."""

    @abstractmethod
    def own(self, alpha: Tensor) -> Tensor:
        """The best potentials ``[..., size]`` with these ones of the rows ``[..., m]``."""

    @torch.enable_grad()
    def supergradient(self, potentials: Tensor) -> tuple[Tensor, Tensor]:
        """The value and a supergradient, ``[...]`` and ``[..., size]``."""
        potentials = potentials.detach().requires_grad_()
        value = self.value(potentials)
        return value.detach(), torch.autograd.grad(value.sum(), potentials)[0]


class SemiDual(DualObjective):
    """S(α) = ⟨α, a⟩ - Σ_j Ω*_{b_j}(α - c_j). Its plans have the column sums b at any potentials; supergradient a - T1."""

    @property
    def size(self) -> int:
        """One potential a row."""
        return self.a.shape[-1]

    def value(self, potentials: Tensor) -> Tensor:
        """S ``[...]`` at α ``[..., m]``."""
        conjugates = conjugate_simplex(self.scores(potentials), self.b, self.quadratic_weight, self.max_nonzeros)
        return (potentials * self.a).sum(-1) - conjugates.sum(-1)

    def plan(self, potentials: Tensor) -> Tensor:
        """T ``[..., m, n]`` at α ``[..., m]``."""
        return maximizer_simplex(self.scores(potentials), self.b, self.quadratic_weight, self.max_nonzeros).mT

    def own(self, alpha: Tensor) -> Tensor:
        """α itself."""
        return alpha

    def scores(self, potentials: Tensor) -> Tensor:
        """α - c_j ``[..., n, m]``."""
        return potentials[..., None, :] - self.cost.mT


class Dual(DualObjective):
    """D(α, β) = ⟨α, a⟩ + ⟨β, b⟩ - Σ_j Ω*₊(α + β_j 1 - c_j); supergradients a - T1 and b - Tᵀ1."""

    @property
    def size(self) -> int:
        """One potential a row, then one a column."""
        return self.a.shape[-1] + self.b.shape[-1]

    def value(self, potentials: Tensor) -> Tensor:
        """D ``[...]`` at (α, β) ``[..., m + n]``."""
        conjugates = conjugate_nonnegative(self.scores(potentials), self.quadratic_weight, self.max_nonzeros)
        return (potentials * torch.cat([self.a, self.b], -1)).sum(-1) - conjugates.sum(-1)

    def plan(self, potentials: Tensor) -> Tensor:
        """T ``[..., m, n]`` at (α, β) ``[..., m + n]``."""
        return maximizer_nonnegative(self.scores(potentials), self.quadratic_weight, self.max_nonzeros).mT

    def own(self, alpha: Tensor) -> Tensor:
        """α, and minus the thresholds of ``SemiDual`` at α, under which D is S."""
        scores = alpha[..., None, :] - self.cost.mT
        k = scores.shape[-1] if self.max_nonzeros is None else min(self.max_nonzeros, scores.shape[-1])
        largest = scores.topk(k, dim=-1).values
        return torch.cat([alpha, -simplex_threshold(largest, self.quadratic_weight * self.b)], -1)

    def scores(self, potentials: Tensor) -> Tensor:
        """α + β_j 1 - c_j ``[..., n, m]``."""
        alpha, beta = potentials.split([self.a.shape[-1], self.b.shape[-1]], -1)
        return alpha[..., None, :] + beta[..., :, None] - self.cost.mT


@dataclass(frozen=True, eq=False)
class Maximum:
    """What a solver reached.

    Attributes:
        potentials: ``[..., size]``, without gradient.
        iterations: of the solver, all its stages together.
        gap: at least what the value may lack to the maximum, up to rounding ``[...]``: the convexified cost of a plan that
            meets both marginals, less the value.
    """

    potentials: Tensor
    iterations: int
    gap: Tensor


def maximize(objective: DualObjective, steps: int = 500, tolerance: float = 1e-12) -> Maximum:
    """Maximizes with a certificate.

    Without a limit, or one that no column exceeds, the objective is smooth: L-BFGS-B, until the value improves by less than
    ``tolerance`` or no supergradient exceeds it. With k = 1 it is that of a linear program, which is solved exactly. Between
    them it has kinks, on which L-BFGS gets stuck: the smoothed dual (see ``smoothing``) is maximized so, with ever less
    smoothing, until the gap is at most 1e-7 of the largest cost or the value. Computed in double precision.

    Problems on leading axes are independent, so that the sum of their values is maximized.

    Args:
        objective: of any of the forms.
        steps: at most so many iterations of L-BFGS; the simplex method is not limited.
        tolerance: of each run of L-BFGS.
    """
    exact = replace(objective, cost=objective.cost.double(), a=objective.a.double(), b=objective.b.double())
    k = exact.max_nonzeros
    if k == 1:
        potentials, plan, iterations = _linear_program(exact)
    elif k is None or k >= exact.cost.shape[-2]:
        potentials, iterations = ascend(exact, steps, tolerance)
        plan = exact.plan(potentials)
    else:
        potentials, plan, iterations = _continue(exact, k, steps, tolerance)
    gap = duality_gap(exact, potentials, plan)
    return Maximum(potentials.to(objective.cost), iterations, gap.to(objective.cost))


def maximize_lbfgs(objective: DualObjective, steps: int = 500, tolerance: float = 1e-12) -> tuple[Tensor, int]:
    """The potentials and iterations of ``maximize``."""
    found = maximize(objective, steps, tolerance)
    return found.potentials, found.iterations


def ascend(objective: DualObjective, steps: int = 500, tolerance: float = 1e-12) -> tuple[Tensor, int]:
    """Potentials and iterations of L-BFGS-B from 0 on the objective as it is: on a kink it stops short of the maximum."""
    start = objective.cost.new_zeros(*objective.a.shape[:-1], objective.size)
    return _lbfgs(objective.supergradient, start, steps, tolerance)


def duality_gap(objective: DualObjective, potentials: Tensor, plan: Tensor) -> Tensor:
    """What the value at potentials may lack to the maximum ``[...]``, by a plan ``[..., m, n]`` made to fit both marginals."""
    fitting = repaired(plan, objective.a, objective.b)
    least = convexified_cost(fitting, objective.cost, objective.quadratic_weight, objective.max_nonzeros)
    return least - objective.value(potentials)


def _linear_program(objective: DualObjective) -> tuple[Tensor, Tensor, int]:
    """Potentials, plan and iterations for k = 1, where α of the linear program is optimal."""
    (m, n), a, b = objective.cost.shape[-2:], objective.a, objective.b
    problems = zip(objective.cost.reshape(-1, m, n), a.reshape(-1, m), b.reshape(-1, n), strict=True)
    plans, potentials, iterations = zip(*(solve_with_potentials(*problem) for problem in problems), strict=True)
    alpha = torch.stack(potentials)[:, :m].reshape(a.shape)
    return objective.own(alpha), torch.stack(plans).reshape(objective.cost.shape), sum(iterations)


def _continue(objective: DualObjective, k: int, steps: int, tolerance: float) -> tuple[Tensor, Tensor, int]:
    """Potentials, a plan near both marginals, and iterations, by L-BFGS on ever less smoothed duals."""
    cost, a, b, gamma = objective.cost, objective.a, objective.b, objective.quadratic_weight
    m, masses = a.shape[-1], torch.cat([a, b], -1)
    both = Dual(cost, a, b, gamma, k)

    def smoothed(x: Tensor) -> tuple[Tensor, Tensor]:
        conjugates, plan = smoothed_dual(both.scores(x), gamma, k, mu)
        return (x * masses).sum(-1) - conjugates, masses - torch.cat([plan.sum(-2), plan.sum(-1)], -1)

    x = both.own(torch.zeros_like(a))
    # The largest gain of a single entry: smoothing by less than it has an effect.
    mu = (
        FIRST_SMOOTHING * both.scores(x).clamp(min=0).square().amax((-2, -1)).clamp(min=torch.finfo(a.dtype).tiny) / (2 * gamma)
    )
    best, bound = objective.own(x[..., :m]), torch.full_like(mu, torch.inf)
    plan, iterations = objective.plan(best), 0
    for _ in range(STAGES):
        x, count = _lbfgs(smoothed, x, steps - iterations, tolerance, maxcor=MEMORY)
        iterations += count
        reached = objective.own(x[..., :m])
        best = torch.where((objective.value(reached) > objective.value(best))[..., None], reached, best)
        own = smoothed_dual(both.scores(x), gamma, k, mu)[1].mT
        least = convexified_cost(repaired(own, a, b), cost, gamma, k)
        plan, bound = torch.where((least < bound)[..., None, None], own, plan), torch.minimum(least, bound)
        value = objective.value(best)
        if iterations >= steps or (bound - value <= GAP * torch.maximum(cost.abs().amax((-2, -1)), value.abs())).all():
            break
        mu = SMOOTHING_DECREASE * mu
    return best, plan, iterations


def _lbfgs(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, steps: int, tolerance: float, **options: int
) -> tuple[Tensor, int]:
    """Maximizes the sum of values ``[...]`` from potentials, given with their supergradients; returns these and iterations.

    Options are SciPy's.
    """

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).reshape(start.shape).to(start)

    def negated(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = evaluate(tensor(x))
        return -value.sum().item(), -slope.flatten().cpu().numpy()

    first = start.flatten().cpu().numpy()
    result = minimize(negated, first, jac=True, method="L-BFGS-B", tol=tolerance, options=options | {"maxiter": steps})
    return tensor(result.x), int(result.nit)


@torch.enable_grad()
def maximize_adam(objective: DualObjective, steps: int, learning_rate: float) -> tuple[Tensor, int]:
    """Maximizes by a fixed number of Adam steps; a batch of problems costs as many steps as one, and stays on its device.

    Returns:
        Potentials ``[..., size]`` without gradient, and ``steps``.
    """
    potentials = objective.cost.new_zeros(*objective.a.shape[:-1], objective.size).requires_grad_()
    adam = torch.optim.Adam([potentials], lr=learning_rate, maximize=True)
    for _ in range(steps):
        (potentials.grad,) = torch.autograd.grad(objective.value(potentials).sum(), potentials)
        adam.step()
    return potentials.detach(), steps


def transport_value(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    quadratic_weight: float | Tensor,
    max_nonzeros: int | None = None,
    maximize: Callable[[DualObjective], tuple[Tensor, int]] = maximize_lbfgs,
) -> Tensor:
    """The optimal value of sparsity-constrained transport, as a loss that is differentiable in C, a, b and γ.

    By the envelope theorem no gradient passes through the solver: the derivatives are ∂/∂C = T, ∂/∂γ = ½ ‖T‖², and ∂/∂a and
    ∂/∂b the potentials (up to a constant), wherever the optimal plan is unique. First derivatives only.

    Args:
        cost: C ``[..., m, n]``.
        a: masses of the rows ``[..., m]``.
        b: masses of the columns ``[..., n]``.
        quadratic_weight: γ > 0, in units of the cost.
        max_nonzeros: k ≥ 1, nonzeros per column; None is no limit.
        maximize: finds optimal potentials, without gradient; inside a network ``partial(maximize_adam, steps=…,
            learning_rate=…)`` keeps the work on the device.

    Returns:
        ``[...]``.
    """
    fixed = quadratic_weight.detach() if isinstance(quadratic_weight, Tensor) else quadratic_weight
    potentials, _ = maximize(SemiDual(cost.detach(), a.detach(), b.detach(), fixed, max_nonzeros))
    return SemiDual(cost, a, b, quadratic_weight, max_nonzeros).value(potentials)
