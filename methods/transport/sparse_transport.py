"""Sparsity-constrained optimal transport: a hard limit on the nonzeros in every column of the plan."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

from pydantic import model_validator
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.transport.dual import Dual, DualObjective, SemiDual, duality_gap, maximize, maximize_adam
from regbench.methods.transport.task import Solution, TransportMethod, relative

OBJECTIVES: dict[str, type[DualObjective]] = {"semi_dual": SemiDual, "dual": Dual}


class SparseTransport(TransportMethod):
    """Minimizes ⟨T, C⟩ + γ/2 ‖T‖² over plans with at most k nonzeros per column, through a concave dual (Liu et al., 2023).

    The dual has kinks where entries tie for the k-th place. k = 1 is a linear program and solved as one; other limits are
    approached through smoothed duals (see ``dual.maximize``). ``duality_gap`` is at least what the dual value lacks to its
    maximum: the cost, under the convex envelope of the penalty, of a plan with the right marginals, less that value.

    Without a limit (k = None) this is quadratically regularized transport. A limit k with k n < m cannot be met by any plan of
    a uniform a, which the marginal error shows. Where entries tie for the k-th place at the optimum, the returned plan keeps
    its limit and misses the row sums a.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Sparsity-Constrained Optimal Transport", "Liu, Puigcerver, Blondel", 2023, "ICLR", "2209.15466"
    )

    quadratic_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="γ", differentiable=True, help="strength of γ/2 ‖T‖², relative to the largest cost"
    )
    max_nonzeros: int | None = weight(
        16, off=None, ge=1, symbol="k", differentiable=False, help="most nonzeros in a column of the plan; None: no limit"
    )
    solver: Literal["semi_dual", "dual"] = hyperparameter(
        "semi_dual", help="concave problem: semi_dual (exact column sums) or dual (more potentials, no projection)"
    )
    optimizer: Literal["lbfgs", "adam"] = hyperparameter("lbfgs", help="lbfgs (until the duality gap is small) or adam")
    solver_steps: int = hyperparameter(500, ge=1, help="iterations: at most so many of lbfgs, exactly so many of adam")
    solver_lr: float = hyperparameter(0.01, gt=0, help="learning rate of adam, relative to the largest cost")
    tolerance: float = hyperparameter(1e-12, gt=0, help="progress at which a run of lbfgs stops, relative to the largest cost")

    @model_validator(mode="after")
    def _limit_needs_weight(self) -> Self:
        if self.quadratic_weight == 0 and self.max_nonzeros is not None:
            raise ValueError(
                f"max_nonzeros={self.max_nonzeros} needs quadratic_weight > 0: with 0 the exact plan is computed, "
                "so set max_nonzeros to None"
            )
        return self

    def solve(self, cost: Tensor, a: Tensor, b: Tensor, weights: SimpleNamespace) -> Solution:
        """Maximizes the dual and reads the plan from the optimal potentials; the exact plan for γ = 0."""
        if not weights.quadratic_weight:
            return super().solve(cost, a, b, weights)
        objective = OBJECTIVES[self.solver](relative(cost), a, b, weights.quadratic_weight, weights.max_nonzeros)
        if self.optimizer == "lbfgs":
            found = maximize(objective, self.solver_steps, self.tolerance)
            potentials, iterations, gap = found.potentials, found.iterations, found.gap
        else:
            potentials, iterations = maximize_adam(objective, self.solver_steps, self.solver_lr)
            gap = duality_gap(objective, potentials, objective.plan(potentials))
        return Solution(objective.plan(potentials), iterations, (gap * cost.max()).item())
