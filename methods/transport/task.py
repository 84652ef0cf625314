"""The transport task: solve a few problems and judge the plans. A method overrides only how one problem is solved."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.method import Metric, Metrics, Track
from regbench.methods.run import Run
from regbench.methods.shared.problems import ProblemMethod
from regbench.methods.transport.linear_program import solve_exactly

TRACK = Track(
    name="transport",
    help="a plan that moves one histogram to another, judged by its cost, feasibility and sparsity, and by the solver's effort",
    metrics=(
        Metric("penalized_gap", "min"),
        Metric("marginal_error", "min"),
        Metric("nonzeros", "min"),
        Metric("iterations", "min"),
    ),
    data=("gaussian_clouds", "digit_histograms"),
    baseline="exact_transport",
    smoke={"problems": 2},
    iterative=False,
)

# Far below the mass of any row or column; only plans without exact zeros (entropic ones) depend on it.
NONZERO = 1e-9


@dataclass(frozen=True)
class Solution:
    """A transport plan ``[m, n]`` and the iterations that its solver took.

    Attributes:
        plan: T ≥ 0.
        iterations: of the solver.
        gap: how far from the optimum of what it solves its value may be, in units of the cost; None where it does not say.
    """

    plan: Tensor
    iterations: int
    gap: float | None = None


class TransportMethod(ProblemMethod):
    """Solves one problem a round and yields the means over the problems solved so far.

    A method of the track overrides ``solve``; this class solves the linear program, which is also what every regularized
    method does when its weights are off. The primary metric of the exact solver is 0, so the comparison tells what smoothness
    or sparsity costs; ``nonzeros`` and ``iterations`` tell what it buys (iterations compare only within one solver).
    """

    track: ClassVar[Track] = TRACK

    def solve(self, cost: Tensor, a: Tensor, b: Tensor, weights: SimpleNamespace) -> Solution:
        """Finds a transport plan.

        Args:
            cost: C ``[m, n]``, float64.
            a: masses of the rows ``[m]``, of sum 1.
            b: masses of the columns ``[n]``, of sum 1.
            weights: the method's regularization weights as attributes, relative to the largest cost.
        """
        return Solution(*solve_exactly(cost, a, b))

    def train(self, run: Run) -> Iterator[Metrics]:
        """Solves the run's problems."""
        drawn, results = self.draw(run), dict[str, float]()
        run.restore(results=results)
        yield from self.solve_all(drawn, results, run)

    def judge(self, pool: TensorDataset, index: int, run: Run) -> Metrics:
        """Solves one problem and judges the plan."""
        cost, a, b = (tensor[index] for tensor in run.tensors(pool))
        solution = self.solve(cost, a, b, self.weight_values())
        found = plan_metrics(solution.plan, cost, a, b, exact_cost(pool, index)) | {"iterations": float(solution.iterations)}
        return found if solution.gap is None else found | {"duality_gap": solution.gap}


# As many as a split's pools hold to validate and to test.
@lru_cache(400)
def exact_cost(pool: TensorDataset, index: int) -> float:
    """The least transport cost of a problem of a pool, by linear programming."""
    cost, a, b = pool[index]
    plan, _ = solve_exactly(cost, a, b)
    return (plan * cost).sum().item()


def plan_metrics(plan: Tensor, cost: Tensor, a: Tensor, b: Tensor, least: float) -> Metrics:
    """What a plan T costs and how far it is from feasible.

    Args:
        plan: T ≥ 0, ``[m, n]``.
        cost: C ``[m, n]``.
        a: masses of the rows ``[m]``.
        b: masses of the columns ``[n]``.
        least: the cost of an optimal plan.

    Returns:
        ``cost`` is ⟨T, C⟩; ``cost_gap`` its excess over the optimum, negative only if T is infeasible; ``marginal_error``
        ‖T1 - a‖₁ + ‖Tᵀ1 - b‖₁; ``penalized_gap`` the gap plus the marginal error times the largest cost; ``nonzeros`` the mean
        number per column. For C ≥ 0, repairing a plan adds mass of at most half its marginal error (by Algorithm 2 of
        Altschuler et al., NeurIPS 2017), so the penalized gap is at least half its penalty: no infeasible plan can beat the
        optimum.
    """
    total = (plan * cost).sum().item()
    violation = ((plan.sum(1) - a).abs().sum() + (plan.sum(0) - b).abs().sum()).item()
    return {
        "penalized_gap": total - least + violation * cost.max().item(),
        "marginal_error": violation,
        "nonzeros": (plan > NONZERO).sum(0).double().mean().item(),
        "cost_gap": total - least,
        "cost": total,
    }


def relative(cost: Tensor) -> Tensor:
    """Costs over the largest one; where none is positive, as they are."""
    return cost / torch.where(cost.max() > 0, cost.max(), 1.0)
