"""HOAG: hyperparameter optimization with approximate gradient (Pedregosa, ICML 2016, arXiv:1602.02355)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from regbench.methods.shared.bilevel.hypergradient import sandwich
from regbench.methods.shared.bilevel.learner import GradientLearner, GradientOptions, GradientState, Record, check
from regbench.methods.shared.bilevel.problem import BilevelProblem

GEOMETRIC_FACTOR = 0.9
TOLERANCE_FLOOR = 1e-12
# The heuristic step: tolerance of an increase, shrinkage of L after a decrease, and what rejects a point.
SLACK = 0.25
STEP_GROWTH = 0.95
REJECTION = 1.2
# Below this norm the first hypergradient says nothing about L.
SMALL_GRADIENT = 1e-3


@dataclass(frozen=True)
class HoagOptions(GradientOptions):
    """The constants of HOAG; the defaults are those of its comparison with MAID.

    Attributes:
        tolerance_init: ε_1 > 0 of both the lower problem and the linear system.
        schedule: ε_k = ε_1 0.9^(k-1) (geometric), ε_1/k² (quadratic), ε_1/k³ (cubic), or ε_1 (constant); at least 1e-12.
        step_size: 1/L > 0, fixed; None adapts it by the published heuristic.
    """

    tolerance_init: float = 0.1
    schedule: Literal["geometric", "quadratic", "cubic", "constant"] = "geometric"
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.tolerance_init > 0, "tolerance_init must be positive")
        check(self.step_size is None or self.step_size > 0, "step_size must be positive")
        check(self.schedule in ("geometric", "quadratic", "cubic", "constant"), f"there is no schedule '{self.schedule}'")

    def next_tolerance(self, tolerance: float, iteration: int) -> float:
        """ε_k of iteration k after the last one, ε_(k-1)."""
        following = {
            "geometric": GEOMETRIC_FACTOR * tolerance,
            "quadratic": self.tolerance_init / iteration**2,
            "cubic": self.tolerance_init / iteration**3,
            "constant": tolerance,
        }
        return max(following[self.schedule], TOLERANCE_FLOOR)


@dataclass(kw_only=True)
class HoagState(GradientState):
    """HOAG's memory: ε, the estimate L, and the last value of g."""

    tolerance: float = math.nan
    lipschitz: float | None = None
    last_value: float = math.inf


class Hoag(GradientLearner):
    """Gradient descent with an inexact z, whose accuracy follows a schedule fixed in advance.

    An iteration solves the lower problem and the linear system to ε_k, both from the last solutions, and steps to P(θ - z/L).
    With a fixed step size that is the algorithm of the paper's theory (which needs Σ ε_k < ∞); with the constant schedule too,
    it is plain hypergradient descent at fixed accuracy.

    The heuristic (of the author's code) compares g with its last value: after a decrease L shrinks to 0.95 L before the step;
    after a rise by a fifth L doubles, the next ε halves (a quadratic or cubic schedule then returns to its course), and there
    is no step; else the step is taken as it is. The last value is replaced in any case: if a rejection kept it, every later
    point would be rejected too. The author's code moves twice in each iteration that is not rejected, before and after the
    comparison; here it moves once.

    Args:
        problem: what to learn.
        options: the constants.
    """

    state: HoagState

    def __init__(self, problem: BilevelProblem, options: HoagOptions | None = None) -> None:
        self.options = options or HoagOptions()
        super().__init__(problem, self.options)
        theta = self._project(problem.theta0.detach().clone())
        self.state = HoagState(theta=theta, x=problem.x0.detach().clone(), adjoint=torch.zeros_like(problem.x0))
        self.state.tolerance = self.options.tolerance_init

    def step(self) -> Record:
        """One upper iteration; its record belongs to the point before the step."""
        state, problem = self.state, self.problem
        state.iteration += 1
        tolerance = state.tolerance
        theta, solution = state.theta, self._solve(state.theta, tolerance)
        state.x = solution.x
        accuracy = solution.accuracy(problem, theta, tolerance)
        gradient = self._differentiate(accuracy, tolerance, certify=False)
        value, smoothness = problem.upper(state.x, theta).detach().mean().item(), problem.upper_smoothness(theta)
        bounds = None if smoothness is None else sandwich(problem, state.x, theta, accuracy, smoothness)
        state.tolerance = self.options.next_tolerance(tolerance, state.iteration + 1)
        alpha = self.options.step_size or self._heuristic_step(value, gradient.norm, tolerance)
        if alpha:
            state.theta = self._project(theta - alpha * gradient.z)
        return Record(
            iteration=state.iteration,
            theta=theta,
            value=value,
            lower_bound=None if bounds is None else bounds.lower,
            upper_bound=None if bounds is None else bounds.upper,
            gradient_norm=gradient.norm,
            error_bound=None,
            lower_tolerance=accuracy.max().item(),
            adjoint_tolerance=gradient.accuracy,
            step_size=alpha,
            backtracks=int(not alpha),
            lower_iterations=state.lower_iterations,
            linear_iterations=state.linear_iterations,
            negative_curvature=gradient.negative_curvature,
        )

    def _heuristic_step(self, value: float, size: float, tolerance: float) -> float:
        """1/L for this iteration, 0 to reject the point."""
        state = self.state
        if state.lipschitz is None:
            state.lipschitz = size / math.sqrt(state.theta.numel()) if size > SMALL_GRADIENT else 1.0
        last, state.last_value = state.last_value, value
        length = size / state.lipschitz
        allowed = SLACK * state.tolerance + tolerance * (SLACK + 1) * length
        if value <= last + allowed - state.lipschitz * length**2:
            state.lipschitz *= STEP_GROWTH
        elif value >= REJECTION * last:
            state.lipschitz *= 2
            state.tolerance = max(state.tolerance / 2, TOLERANCE_FLOOR)
            return 0.0
        return 1 / state.lipschitz
