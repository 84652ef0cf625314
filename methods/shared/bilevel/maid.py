"""MAID, the method of adaptive inexact descent (Salehi et al., SIAM J. Math. Data Sci. 2025, arXiv:2308.10098)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regbench.methods.method import Paper
from regbench.methods.shared.bilevel.estimates import estimate_upper_smoothness
from regbench.methods.shared.bilevel.hypergradient import Hypergradient, Sandwich, sandwich
from regbench.methods.shared.bilevel.learner import GradientLearner, GradientOptions, GradientState, Record, Stop, check
from regbench.methods.shared.bilevel.problem import BilevelProblem, Constant
from regbench.methods.shared.bilevel.samples import norm

PAPER = Paper(
    "An adaptively inexact first-order method for bilevel optimization with application to hyperparameter learning",
    "Salehi, Mukherjee, Roberts, Ehrhardt",
    2025,
    "SIAM Journal on Mathematics of Data Science",
    "2308.10098",
)
# The scale-free start and the limits of first steps, as the paper's first author sets them in his second implementation.
START_ACCURACY = 0.02
START_STEP = 0.01
STEP_LIMITS = (1e-12, 1e3)
# How slowly the nonmonotone reference forgets (Zhang and Hager, 2004).
MEMORY = 0.85


@dataclass(frozen=True)
class MaidOptions(GradientOptions):
    """The constants of MAID; the defaults are those of the authors' scripts.

    Attributes:
        lower_tolerance_init: ε_0 > 0; None derives it from the first lower gradient.
        adjoint_tolerance_init: δ_0 > 0; None is ε_0.
        step_size_init: α_0 > 0; None derives it from the first hypergradient.
        step_decrease: ρ̲ in (0, 1), the backtracking factor.
        step_increase: ρ̄ ≥ 1, growth of the step size after a success.
        accuracy_decrease: ν̲ in (0, 1), tightening of ε and δ.
        accuracy_increase: ν̄ ≥ 1, loosening of ε and δ after a success.
        descent_margin: η in (0, 1) of the descent test.
        sufficient_decrease: λ of the line search, in (0, η), or in (0, 1) without the descent test.
        max_backtracks: step sizes that the first search of an iteration tries; one more after each failure.
        check_descent: whether to test by ω that -z is a descent direction, a certificate where the problem bounds ‖J‖ and gives
            the other constants; without it the line search finds out.
        convex_upper: whether the lower bound of f uses that g is convex.
        barzilai_borwein: whether a search starts at the Barzilai-Borwein step instead of ρ̄ times the last one.
        nonmonotone: whether a step may be accepted against a running mean of past lower bounds. f may then rise for a while.
        tolerance: stops where ‖z‖ + ω (‖z‖ without the descent test) is at most this.
    """

    lower_tolerance_init: float | None = 0.1
    adjoint_tolerance_init: float | None = None
    step_size_init: float | None = 0.01
    step_decrease: float = 0.5
    step_increase: float = 10 / 9
    accuracy_decrease: float = 0.5
    accuracy_increase: float = 1.05
    descent_margin: float = 1e-4
    sufficient_decrease: float = 1e-8
    max_backtracks: int = 10
    check_descent: bool = True
    convex_upper: bool = False
    barzilai_borwein: bool = False
    nonmonotone: bool = False
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lower_tolerance_init", "adjoint_tolerance_init", "step_size_init"):
            check(getattr(self, name) is None or getattr(self, name) > 0, f"{name} must be positive")
        for name in ("step_decrease", "accuracy_decrease", "descent_margin"):
            check(0 < getattr(self, name) < 1, f"{name} must lie between 0 and 1")
        for name in ("step_increase", "accuracy_increase", "max_backtracks"):
            check(getattr(self, name) >= 1, f"{name} must be at least 1")
        limit = self.descent_margin if self.check_descent else 1.0
        check(0 < self.sufficient_decrease < limit, f"sufficient_decrease must lie between 0 and {limit}")
        check(self.tolerance >= 0, "tolerance must not be negative")


@dataclass(kw_only=True)
class MaidState(GradientState):
    """MAID's memory: ε, δ, α, L_g where it is estimated, the last step's start, and the nonmonotone reference C and Q."""

    lower_tolerance: float = math.nan
    adjoint_tolerance: float = math.nan
    step_size: float | None = None
    upper_smoothness: float | None = None
    last_theta: Tensor | None = None
    last_gradient: Tensor | None = None
    reference: float | None = None
    reference_weight: float = 1.0


class Maid(GradientLearner):
    """Algorithm 3.1: gradient descent with an inexact z, whose accuracy and step size adapt to what the descent needs.

    An iteration (i) solves the lower problem to ε and the linear system to δ; (ii) with the descent test, goes on only if
    ω ≤ (1 - η) ‖z‖ (Algorithm 3.2); (iii) accepts the first α = α_k ρ̲ⁱ with

        U⁺(θ⁺) - U⁻(θ) + λ ‖θ⁺ - θ‖² / α ≤ 0,   θ⁺ = P(θ - α z),

    which implies the same decrease of f itself, whether or not z is accurate; (iv) after a success enlarges ε, δ and α, after a
    failure of (ii) or (iii) tightens ε and δ and begins again.

    The nonmonotone reference is a mean of past U⁻, hence at most the same mean of past values of f: an accepted step satisfies
    the condition of Zhang and Hager for f itself.

    It stops at the accuracy floor when tightening no longer changes the accuracies that are reached, or has changed them within
    one iteration by the square of the unit roundoff; as stationary if z is 0 there with no residual left. ε and δ are always
    the accuracies of the solutions in use: where a cap or rounding ends a solver early, they are set to what it did reach.

    Args:
        problem: what to learn. Where it does not know L_g, that is estimated at the first solution, and bounds are heuristic;
            where it does not bound ‖J‖, that is estimated for ω, and the descent test certifies nothing.
        options: the constants.

    Raises:
        ConfigError: the problem lacks what the options need.
    """

    state: MaidState

    def __init__(self, problem: BilevelProblem, options: MaidOptions | None = None) -> None:
        self.options = options or MaidOptions()
        super().__init__(problem, self.options)
        if self.options.check_descent:
            problem.require_certificate()
        check(problem.upper_convex or not self.options.convex_upper, f"{type(problem).__name__} does not declare upper_convex")
        theta = self._project(problem.theta0.detach().clone())
        self.state = MaidState(theta=theta, x=problem.x0.detach().clone(), adjoint=torch.zeros_like(problem.x0))
        self.state.lower_tolerance = self.options.lower_tolerance_init or self._start_tolerance()
        self.state.adjoint_tolerance = self.options.adjoint_tolerance_init or self.state.lower_tolerance

    def step(self) -> Record:
        """One upper iteration; without a step where it stops."""
        options, state = self.options, self.state
        state.iteration += 1
        gradient, here = self._evaluate()
        budget, tried = options.max_backtracks, 0
        # Rounding sets no floor where x or q is 0, whose accuracy could be halved for ever.
        least = torch.finfo(state.x.dtype).eps ** 2
        least_lower, least_adjoint = least * state.lower_tolerance, least * state.adjoint_tolerance
        while True:
            if gradient.norm > 0 and gradient.norm + (gradient.bound or 0.0) <= options.tolerance:
                return self._finish(Stop.STATIONARY, gradient, here, tried)
            if self._descends(gradient):
                if record := self._search(gradient, here, budget, tried):
                    return record
                tried += budget
                budget += 1
            lower, adjoint = state.lower_tolerance, state.adjoint_tolerance
            state.adjoint_tolerance *= options.accuracy_decrease
            # z is 0 where δ exceeds ‖∇g‖: that says nothing about ε, unless ∇g is 0.
            if gradient.norm > 0 or gradient.exact:
                state.lower_tolerance *= options.accuracy_decrease
            gradient, here = self._evaluate()
            enough = (1 + options.accuracy_decrease) / 2
            tighter = state.lower_tolerance <= enough * lower or state.adjoint_tolerance <= enough * adjoint
            if not tighter or state.lower_tolerance < least_lower or state.adjoint_tolerance < least_adjoint:
                stationary = gradient.norm == 0 and gradient.exact
                return self._finish(Stop.STATIONARY if stationary else Stop.ACCURACY_FLOOR, gradient, here, tried)

    def _evaluate(self) -> tuple[Hypergradient, Sandwich]:
        """Solves at the current θ; ε and δ become what was reached."""
        state = self.state
        solution = self._solve(state.theta, state.lower_tolerance)
        accuracy = solution.accuracy(self.problem, state.theta, state.lower_tolerance)
        state.x, state.lower_tolerance = solution.x, accuracy.max().item()
        gradient = self._differentiate(accuracy, state.adjoint_tolerance, certify=self.options.check_descent)
        state.adjoint_tolerance = gradient.accuracy
        return gradient, self._bounds(state.x, state.theta, accuracy)

    def _descends(self, gradient: Hypergradient) -> bool:
        """Whether -z is worth a line search: certified to descend, or at least not zero."""
        margin = (1 - self.options.descent_margin) * gradient.norm
        return gradient.norm > 0 and (gradient.bound is None or gradient.bound <= margin)

    def _search(self, gradient: Hypergradient, here: Sandwich, budget: int, tried: int) -> Record | None:
        """Backtracks along -z; None if no step size of the budget is accepted, or none moves θ."""
        options, state = self.options, self.state
        # Accepted if either reference allows it: the nonmonotone one may lie below the current lower bound.
        reference = here.lower if state.reference is None else max(here.lower, state.reference)
        alpha = self._first_step(gradient)
        for backtracks in range(budget):
            theta = self._project(state.theta - alpha * gradient.z)
            moved = (theta - state.theta).square().sum().item()
            if moved == 0:
                return None
            trial = self._solve(theta, state.lower_tolerance)
            accuracy = trial.accuracy(self.problem, theta, state.lower_tolerance)
            there = self._bounds(trial.x, theta, accuracy)
            if there.upper - reference + options.sufficient_decrease * moved / alpha <= 0:
                if options.nonmonotone:
                    self._remember(here.lower, there.lower)
                state.last_theta, state.last_gradient = state.theta, gradient.z
                # A stale adjoint within δ would be returned as it is, and with it the last direction.
                state.theta, state.x, state.adjoint = theta, trial.x, torch.zeros_like(trial.x)
                record = self._record(gradient, there, alpha, tried + backtracks)
                state.step_size = options.step_increase * alpha
                state.lower_tolerance *= options.accuracy_increase
                state.adjoint_tolerance *= options.accuracy_increase
                return record
            alpha *= options.step_decrease
        return None

    def _first_step(self, gradient: Hypergradient) -> float:
        state = self.state
        if self.options.barzilai_borwein and state.last_theta is not None and state.last_gradient is not None:
            s, y = state.theta - state.last_theta, gradient.z - state.last_gradient
            curvature = (s * y).sum().item()
            if curvature > 0:
                return _clamp(s.square().sum().item() / curvature)
        if state.step_size is None:
            scale_free = START_STEP * max(state.theta.norm().item(), 1.0) / gradient.norm
            state.step_size = self.options.step_size_init or _clamp(scale_free)
        return state.step_size

    def _start_tolerance(self) -> float:
        """0.02 ‖∇_x h(x_0, θ_0)‖ / μ, the mean over the samples, within limits that hold for the mean square of an entry."""
        state, problem = self.state, self.problem
        residual = norm(problem.lower_gradient(state.x, state.theta)) / problem.per_sample(
            problem.strong_convexity(state.theta)
        )
        state.lower_iterations += 1
        size = math.sqrt(state.x[0].numel())
        least = 100 * torch.finfo(state.x.dtype).eps
        return size * min(max(START_ACCURACY * residual.mean().item() / size, least), 1.0)

    def _remember(self, left: float, entered: float) -> None:
        """Moves the nonmonotone reference on: C⁺ = (0.85 Q C + U⁻) / Q⁺ with Q⁺ = 0.85 Q + 1."""
        state = self.state
        weight = MEMORY * state.reference_weight
        state.reference = (weight * (left if state.reference is None else state.reference) + entered) / (weight + 1)
        state.reference_weight = weight + 1

    def _bounds(self, x: Tensor, theta: Tensor, accuracy: Tensor) -> Sandwich:
        smoothness: Constant | None = self.problem.upper_smoothness(theta)
        if smoothness is None:
            if self.state.upper_smoothness is None:
                self.state.upper_smoothness = estimate_upper_smoothness(self.problem, x, theta)
            smoothness = self.state.upper_smoothness
        return sandwich(self.problem, x, theta, accuracy, smoothness, convex=self.options.convex_upper)

    def _finish(self, stop: Stop, gradient: Hypergradient, here: Sandwich, tried: int) -> Record:
        self.state.stop = int(stop)
        return self._record(gradient, here, 0.0, tried)

    def _record(self, gradient: Hypergradient, bounds: Sandwich, alpha: float, backtracks: int) -> Record:
        state = self.state
        return Record(
            iteration=state.iteration,
            theta=state.theta,
            value=bounds.value,
            lower_bound=bounds.lower,
            upper_bound=bounds.upper,
            gradient_norm=gradient.norm,
            error_bound=gradient.bound,
            lower_tolerance=state.lower_tolerance,
            adjoint_tolerance=state.adjoint_tolerance,
            step_size=alpha,
            backtracks=backtracks,
            lower_iterations=state.lower_iterations,
            linear_iterations=state.linear_iterations,
            negative_curvature=gradient.negative_curvature,
        )


def _clamp(step: float) -> float:
    return min(max(step, STEP_LIMITS[0]), STEP_LIMITS[1])
