"""Sparsity-constrained optimal transport through its dual and semi-dual (Liu et al., ICLR 2023).

The problem is min ⟨T, C⟩ + Σ_j Ω(t_j) over plans T ≥ 0 with T1 = a and Tᵀ1 = b, where Ω(t) = γ/2 ‖t‖² if the column t has at
most k nonzeros, else ∞. Both duals are concave, have the same optimal value, and bound the (nonconvex) problem from below.
All shapes may have leading axes: many problems are then solved as one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from regbench.methods.errors import ConfigError
from regbench.methods.transport.sparsity import (
    conjugate_nonnegative,
    conjugate_simplex,
    maximizer_nonnegative,
    maximizer_simplex,
)


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


class SemiDual(DualObjective):
    """S(α) = ⟨α, a⟩ - Σ_j Ω*_{b_j}(α - c_j). Its plans have the column sums b at any potentials; supergradient a - T1."""

    @property
    def size(self) -> int:
        """One potential a row."""
        return self.a.shape[-1]

    def value(self, potentials: Tensor) -> Tensor:
        """S ``[...]`` at α ``[..., m]``."""
        conjugates = conjugate_simplex(self._scores(potentials), self.b, self.quadratic_weight, self.max_nonzeros)
        return (potentials * self.a).sum(-1) - conjugates.sum(-1)

    def plan(self, potentials: Tensor) -> Tensor:
        """T ``[..., m, n]`` at α ``[..., m]``."""
        return maximizer_simplex(self._scores(potentials), self.b, self.quadratic_weight, self.max_nonzeros).mT

    def _scores(self, alpha: Tensor) -> Tensor:
        return alpha[..., None, :] - self.cost.mT  # [..., n, m]


class Dual(DualObjective):
    """D(α, β) = ⟨α, a⟩ + ⟨β, b⟩ - Σ_j Ω*₊(α + β_j 1 - c_j); supergradients a - T1 and b - Tᵀ1."""

    @property
    def size(self) -> int:
        """One potential a row, then one a column."""
        return self.a.shape[-1] + self.b.shape[-1]

    def value(self, potentials: Tensor) -> Tensor:
        """D ``[...]`` at (α, β) ``[..., m + n]``."""
        conjugates = conjugate_nonnegative(self._scores(potentials), self.quadratic_weight, self.max_nonzeros)
        return (potentials * torch.cat([self.a, self.b], -1)).sum(-1) - conjugates.sum(-1)

    def plan(self, potentials: Tensor) -> Tensor:
        """T ``[..., m, n]`` at (α, β) ``[..., m + n]``."""
        return maximizer_nonnegative(self._scores(potentials), self.quadratic_weight, self.max_nonzeros).mT

    def _scores(self, potentials: Tensor) -> Tensor:
        alpha, beta = potentials.split([self.a.shape[-1], self.b.shape[-1]], -1)
        return alpha[..., None, :] + beta[..., :, None] - self.cost.mT  # [..., n, m]


@torch.enable_grad()
def maximize_lbfgs(objective: DualObjective, steps: int = 500, tolerance: float = 1e-12) -> tuple[Tensor, int]:
    """Maximizes by L-BFGS-B until the value improves by less than ``tolerance`` or no supergradient exceeds it.

    Problems on leading axes are independent, so that the sum of their values is maximized.

    Returns:
        Potentials ``[..., size]`` without gradient, and the number of iterations, at most ``steps``.
    """
    shape = (*objective.a.shape[:-1], objective.size)

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).reshape(shape).to(objective.cost)

    def negated(x: np.ndarray) -> tuple[float, np.ndarray]:
        potentials = tensor(x).requires_grad_()
        loss = -objective.value(potentials).sum()
        (gradient,) = torch.autograd.grad(loss, potentials)
        return loss.item(), gradient.flatten().double().cpu().numpy()

    start = np.zeros(math.prod(shape))
    result = minimize(negated, start, jac=True, method="L-BFGS-B", tol=tolerance, options={"maxiter": steps})
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
