"""What learners have in common: an interruptible iteration on θ that counts what it costs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from regbench.methods.errors import CheckpointError, ConfigError, DivergedError
from regbench.methods.shared.bilevel.hypergradient import Hypergradient, hypergradient
from regbench.methods.shared.bilevel.linear import LinearSolver, conjugate_gradients
from regbench.methods.shared.bilevel.lower import LowerSolution, LowerSolver, fista, solve_lower
from regbench.methods.shared.bilevel.problem import BilevelProblem


class Stop(IntEnum):
    """Why a learner is at its end.

    A small gradient, or none at all; no step that rounding or the solvers' caps let it find; or a search that asks for no
    further point.
    """

    NO = 0
    STATIONARY = 1
    ACCURACY_FLOOR = 2
    SEARCH_ENDED = 3


@dataclass(frozen=True)
class LearnerOptions:
    """What every learner needs.

    Attributes:
        lower_solver: ``fista``, ``gradient_descent`` or ``lbfgs``.
        max_lower_iterations: gradients of h in one lower solve.
        box: the range of every entry of θ, kept by projection; None is no limit.
    """

    lower_solver: LowerSolver = fista
    max_lower_iterations: int = 10_000
    box: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check(self.max_lower_iterations >= 1, "max_lower_iterations must be at least 1")
        check(self.box is None or self.box[0] < self.box[1], "box must be a pair of a lower and a larger upper limit")


@dataclass(frozen=True)
class GradientOptions(LearnerOptions):
    """What every learner by gradient needs besides.

    Attributes:
        linear_solver: ``conjugate_gradients``, ``damped_conjugate_gradients`` or ``neumann_series``.
        max_linear_iterations: products with H in one linear solve.
    """

    linear_solver: LinearSolver = conjugate_gradients
    max_linear_iterations: int = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.max_linear_iterations >= 1, "max_linear_iterations must be at least 1")


@dataclass(frozen=True, eq=False)
class Record:
    """One upper iteration. Without a gradient there is nothing but the point, its value and the counts.

    Attributes:
        iteration: counted from 1.
        theta: the point ``[m]`` that ``value`` and its bounds belong to.
        value: g(x̃).
        lower_iterations: gradients of h since the start of learning.
        linear_iterations: products with H (and J) since the start of learning.
        lower_bound: a lower bound of f(θ), None where L_g is unknown.
        upper_bound: an upper bound of f(θ), None where L_g is unknown.
        gradient_norm: ‖z‖ at the point that the step left.
        error_bound: ω at that point, an estimate where the problem does not bound ‖J‖; None where it was not formed.
        lower_tolerance: ε at that point.
        adjoint_tolerance: δ at that point.
        step_size: α of the step taken; 0 if there was none.
        backtracks: step sizes that were tried in vain.
        negative_curvature: whether H was found not to be positive definite.
    """

    iteration: int
    theta: Tensor
    value: float
    lower_iterations: int
    linear_iterations: int
    lower_bound: float | None = None
    upper_bound: float | None = None
    gradient_norm: float | None = None
    error_bound: float | None = None
    lower_tolerance: float | None = None
    adjoint_tolerance: float | None = None
    step_size: float | None = None
    backtracks: int | None = None
    negative_curvature: bool | None = None

    @property
    def cost(self) -> int:
        """Lower and linear iterations, the unit in which learners are compared."""
        return self.lower_iterations + self.linear_iterations


@dataclass(kw_only=True)
class LearnerState:
    """All that a learner remembers between two iterations: tensors and numbers."""

    theta: Tensor
    x: Tensor
    iteration: int = 0
    lower_iterations: int = 0
    stop: int = int(Stop.NO)


@dataclass(kw_only=True)
class GradientState(LearnerState):
    """What a learner by gradient remembers besides: the last solution of the linear system, and its cost so far."""

    adjoint: Tensor
    linear_iterations: int = 0


class Learner(ABC):
    """Learns θ of a bilevel problem. Iterating yields a record after each upper iteration and may be left at any time.

    ``state_dict`` between two iterations holds everything: another learner of the same problem and options that loads it goes
    on with the same numbers, bit for bit.
    """

    state: LearnerState

    def __init__(self, problem: BilevelProblem, options: LearnerOptions) -> None:
        self.problem = problem
        self._options = options

    @abstractmethod
    def step(self) -> Record:
        """Does one upper iteration."""

    def __iter__(self) -> Iterator[Record]:
        while self.stopped is Stop.NO:
            yield self.step()

    @property
    def theta(self) -> Tensor:
        """θ ``[m]`` after the steps so far."""
        return self.state.theta

    @property
    def stopped(self) -> Stop:
        """Whether and why there is nothing left to do."""
        return Stop(self.state.stop)

    def state_dict(self) -> dict[str, Any]:
        """The state, tensors and numbers, those that are None left out."""
        named = {field.name: getattr(self.state, field.name) for field in fields(self.state)}
        return {
            name: value.clone() if isinstance(value, Tensor) else value for name, value in named.items() if value is not None
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continues from a state.

        Raises:
            CheckpointError: it is not the state of such a learner on such a problem.
        """
        try:
            state = type(self.state)(**{name: self._own(value) for name, value in saved.items()})
        except TypeError:
            raise CheckpointError(f"this is not the state of a {type(self).__name__}: {sorted(saved)}") from None
        if state.x.shape != self.problem.x0.shape or state.theta.shape != self.problem.theta0.shape:
            raise CheckpointError(f"the state belongs to a problem other than this {type(self.problem).__name__}")
        self.state = state

    def _own(self, value: Any) -> Any:
        return value.to(self.problem.x0, copy=True) if isinstance(value, Tensor) else value

    def _project(self, theta: Tensor) -> Tensor:
        return theta if self._options.box is None else theta.clamp(*self._options.box)

    def _solve(self, theta: Tensor, tolerance: float) -> LowerSolution:
        """Solves the lower problem at θ from the current x̃, and counts the cost."""
        solution = solve_lower(
            self.problem, self.state.x, theta, tolerance, self._options.lower_solver, self._options.max_lower_iterations
        )
        self.state.lower_iterations += solution.iterations
        return solution


class GradientLearner(Learner):
    """Learns by hypergradients."""

    state: GradientState
    _options: GradientOptions

    def _differentiate(self, accuracy: Tensor, tolerance: float, *, certify: bool) -> Hypergradient:
        """The hypergradient at the current (x̃, θ); counts the cost and keeps the adjoint for the next one.

        Raises:
            DivergedError: it is not finite.
        """
        state = self.state
        gradient = hypergradient(
            self.problem,
            state.x,
            state.theta,
            accuracy,
            tolerance,
            state.adjoint,
            self._options.linear_solver,
            self._options.max_linear_iterations,
            certify=certify,
        )
        state.linear_iterations += gradient.iterations
        if not torch.isfinite(gradient.z).all():
            raise DivergedError(
                f"the hypergradient of iteration {state.iteration + 1} is not finite: choose a smaller step size"
            )
        state.adjoint = gradient.adjoint
        return gradient


def check(holds: bool, message: str) -> None:
    """Refuses options that make no sense.

    Raises:
        ConfigError: the condition does not hold.
    """
    if not holds:
        raise ConfigError(message)
