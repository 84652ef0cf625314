"""A method whose parameters are learned: by what, within which budget, and what is reported of it."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from pydantic import model_validator
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metrics, hyperparameter
from regbench.methods.run import Run, prefixed
from regbench.methods.shared.bilevel.derivative_free import DerivativeFree, DerivativeFreeOptions, Searcher
from regbench.methods.shared.bilevel.hoag import Hoag, HoagOptions
from regbench.methods.shared.bilevel.learner import Learner, Record
from regbench.methods.shared.bilevel.lower import LowerSolver, fista, gradient_descent, lbfgs
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.bilevel.problem import BilevelProblem

LOWER_SOLVERS: dict[str, LowerSolver] = {"fista": fista, "gradient_descent": gradient_descent, "lbfgs": lbfgs}
DTYPES = {"single": torch.float32, "double": torch.float64}

LearnerName = Literal["none", "maid", "hoag", "fixed", "random", "tpe", "cmaes", "dfols"]
LEARNER_HELP = (
    "who learns the parameters: none, maid, hoag, fixed (hypergradient descent at a fixed accuracy), "
    "or by values alone random, tpe, cmaes (Optuna) or dfols (DFO-LS, which sees residuals)"
)

# Logarithms of weights are kept in this range. Below it a regularizer is as good as off, and its gradient vanishes.
LOG_RANGE = (-16.0, 6.0)


class LearnedMethod(Method):
    """Minimizes h(x, θ), where θ is given by the settings or learned from there by minimizing f(θ) = g(x̂(θ), θ).

    Without a learner the settings are used as they are, so that a sampler can search them. A learner may spend a budget of
    gradients of h and products with its Hessian; a round ends each time that another ``report_every`` of them are used up, and
    shows the last θ whose computation, with its iteration, was paid for by then. So all learners have the same rounds, and
    equal rounds mean equal cost; an upper iteration that takes longer than a round shows in the round in which it ends. With
    ``upper_iterations``, a round is one of these instead, and the budget only a limit: a learner that has stopped, or whose
    next iteration would exceed it, repeats its last round.

    A method of this kind writes ``problem`` and ``evaluate``, and may name what it learns in ``learned``. With every weight off
    nothing is learned.

    Attributes:
        box: the range in which each entry of θ is kept; None is no limit.
        search_range: the range in which a learner without gradients looks for each entry of θ; None where there is no such
            learner, because one range fits no more than one kind of parameter.
        bounds_jacobian: whether its problems know ‖J‖ or a bound of it. Where they do not, ``check_descent`` tests directions
            with an estimate by power iteration, and certifies nothing.
    """

    box: ClassVar[tuple[float, float] | None] = LOG_RANGE
    search_range: ClassVar[tuple[float, float] | None] = None
    bounds_jacobian: ClassVar[bool] = False

    learner: LearnerName = hyperparameter("none", help=LEARNER_HELP)
    budget: int = hyperparameter(15_000, ge=1, help="lower iterations and Hessian products that learning may take")
    report_every: int = hyperparameter(500, ge=1, help="share of the budget in one round")
    upper_iterations: int | None = hyperparameter(
        None, ge=1, help="so many rounds, each an upper iteration; None: rounds of equal cost"
    )
    precision: Literal["single", "double"] = hyperparameter("double", help="floating-point numbers of both levels")
    lower_solver: Literal["fista", "gradient_descent", "lbfgs"] = hyperparameter(
        "lbfgs", help="what minimizes the lower objective: lbfgs, fista or gradient_descent"
    )
    max_lower_iterations: int = hyperparameter(10_000, ge=1, help="gradients in one lower minimization")
    max_linear_iterations: int = hyperparameter(1_000, ge=1, help="Hessian products in one linear solve")
    lower_tolerance_init: float | None = hyperparameter(
        0.1, gt=0, help="first accuracy of the lower solution, for fixed the only one; None (maid): from its first gradient"
    )
    adjoint_tolerance_init: float | None = hyperparameter(
        None, gt=0, help="maid: first residual of the linear system; None is lower_tolerance_init"
    )
    step_size_init: float | None = hyperparameter(
        None, gt=0, help="maid: first step size; None derives it from the first hypergradient"
    )
    step_decrease: float = hyperparameter(0.5, gt=0, lt=1, help="maid: backtracking factor of the step size")
    step_increase: float = hyperparameter(10 / 9, ge=1, help="maid: growth of the step size after a success")
    accuracy_decrease: float = hyperparameter(0.5, gt=0, lt=1, help="maid: tightening of the accuracies after a failure")
    accuracy_increase: float = hyperparameter(1.05, ge=1, help="maid: loosening of the accuracies after a success")
    descent_margin: float = hyperparameter(1e-4, gt=0, lt=1, help="maid: margin of the descent test")
    sufficient_decrease: float = hyperparameter(1e-8, gt=0, lt=1, help="maid: decrease that the line search asks for")
    max_backtracks: int = hyperparameter(10, ge=1, help="maid: step sizes that the first search of an iteration tries")
    check_descent: bool = hyperparameter(
        False,
        help="maid: test each direction by the error bound before its line search, a certificate where the problem bounds ‖J‖ "
        "and no more than an estimate where it does not; off, the search finds out",
    )
    barzilai_borwein: bool = hyperparameter(False, help="maid: start each search at the Barzilai-Borwein step")
    nonmonotone: bool = hyperparameter(False, help="maid: search against a running mean of past values")
    hoag_schedule: Literal["geometric", "quadratic", "cubic"] = hyperparameter(
        "geometric", help="hoag: accuracy of iteration k, its start times 0.9^(k-1), 1/k^2 or 1/k^3"
    )
    fixed_step_size: float | None = hyperparameter(
        None, gt=0, help="hoag and fixed: the step size; None adapts it by HOAG's rule"
    )

    @model_validator(mode="after")
    def _options_fit_together(self) -> Self:
        if self.learner in ("hoag", "fixed") and self.lower_tolerance_init is None:
            raise ValueError(f"learner {self.learner} needs a first accuracy: set lower_tolerance_init")
        if self.searches and self.search_range is None:
            raise ValueError(f"{self.slug} has no range for learner {self.learner} to search: choose maid, hoag or fixed")
        try:
            self._options(convex_upper=False)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @abstractmethod
    def problem(self, run: Run) -> BilevelProblem:
        """The bilevel problem on the training data, with θ from the settings."""

    @abstractmethod
    def evaluate(self, theta: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Metrics on a split at θ, names without the split's prefix."""

    def learned(self, theta: Tensor) -> Metrics:
        """What is worth a curve of θ, by setting."""
        return {}

    @property
    def learns(self) -> bool:
        """Whether there is something to learn, and a learner."""
        return self.learner != "none" and self != self.baseline()

    @property
    def searches(self) -> bool:
        """Whether its learner sees no gradients."""
        return self.learner in get_args(Searcher)

    @property
    def rounds(self) -> int:
        """One metrics mapping per ``report_every`` of the budget, or per upper iteration; one, if nothing is learned."""
        if not self.learns:
            return 1
        return self.upper_iterations or math.ceil(self.budget / self.report_every)

    def train(self, run: Run) -> Iterator[Metrics]:
        """Learns θ and yields what the last iteration within each round's share of the budget reached.

        Its own names: ``learn/…`` of the learner's record, with counts since the start, and ``weight/…`` from ``learned``.
        """
        problem = self.problem(run)
        learner = self.build_learner(problem, run.numpy_seed("search")) if self.learns else None
        # The last iteration shown, one that is done but does not fit into the budget so far, and the metrics at the one shown.
        book: dict[str, Any] = {"shown": {"theta": problem.theta0}, "ahead": {}, "metrics": {}}
        run.restore(learner=learner, book=book)
        for number in run.rounds(self.rounds):
            limit = self.budget if self.upper_iterations else min(number * self.report_every, self.budget)
            if learner is not None and _advance(learner, book, limit, single=self.upper_iterations is not None):
                book["metrics"] = {}
            shown = dict(book["shown"])
            theta = shown.pop("theta").to(problem.theta0)
            if not book["metrics"]:
                book["metrics"] = self.evaluate(theta, run.data.validation, run)
            metrics = prefixed("val", book["metrics"])
            if self.learns:
                metrics |= {f"learn/{name}": float(value) for name, value in shown.items()}
                metrics |= prefixed("weight", self.learned(theta))
            yield metrics | run.judge_test(partial(self.evaluate, theta, run=run))

    def build_learner(self, problem: BilevelProblem, seed: int = 0) -> Learner:
        """The learner of these settings at the start; a sampler draws random numbers from the seed."""
        options = self._options(convex_upper=problem.upper_convex, seed=seed)
        match options:
            case MaidOptions():
                return Maid(problem, options)
            case HoagOptions():
                return Hoag(problem, options)
        return DerivativeFree(problem, options)

    def _options(self, *, convex_upper: bool, seed: int = 0) -> MaidOptions | HoagOptions | DerivativeFreeOptions:
        solver: dict[str, Any] = {
            "lower_solver": LOWER_SOLVERS[self.lower_solver],
            "max_lower_iterations": self.max_lower_iterations,
        }
        if self.searches:
            return DerivativeFreeOptions(**solver | {"box": self.search_range, "searcher": self.learner, "seed": seed})
        shared = solver | {"max_linear_iterations": self.max_linear_iterations, "box": self.box}
        if self.learner in ("hoag", "fixed") and self.lower_tolerance_init is not None:
            return HoagOptions(
                **shared,
                tolerance_init=self.lower_tolerance_init,
                schedule=self.hoag_schedule if self.learner == "hoag" else "constant",
                step_size=self.fixed_step_size,
            )
        return MaidOptions(
            **shared,
            lower_tolerance_init=self.lower_tolerance_init,
            adjoint_tolerance_init=self.adjoint_tolerance_init,
            step_size_init=self.step_size_init,
            step_decrease=self.step_decrease,
            step_increase=self.step_increase,
            accuracy_decrease=self.accuracy_decrease,
            accuracy_increase=self.accuracy_increase,
            descent_margin=self.descent_margin,
            sufficient_decrease=self.sufficient_decrease,
            max_backtracks=self.max_backtracks,
            check_descent=self.check_descent,
            convex_upper=convex_upper,
            barzilai_borwein=self.barzilai_borwein,
            nonmonotone=self.nonmonotone,
        )


def _advance(learner: Learner, book: dict[str, Any], limit: int, *, single: bool) -> bool:
    """Iterates, once or while the cost stays within the limit; an iteration that exceeds it is kept for a later round.

    Returns:
        Whether there is something new to show.
    """
    news = False
    while book["ahead"] or not learner.stopped:
        ahead = book["ahead"] or _entry(learner.step())
        book["ahead"] = ahead
        if ahead["cost"] > limit:
            break
        book["shown"], book["ahead"], news = ahead, {}, True
        if single:
            break
    return news


def _entry(record: Record) -> dict[str, Any]:
    found = {
        "theta": record.theta,
        "upper_loss": record.value,
        "hypergradient_norm": record.gradient_norm,
        "error_bound": record.error_bound,
        "lower_tolerance": record.lower_tolerance,
        "adjoint_tolerance": record.adjoint_tolerance,
        "step_size": record.step_size,
        "upper_iterations": record.iteration,
        "lower_iterations": record.lower_iterations,
        "linear_iterations": record.linear_iterations,
        "cost": record.cost,
    }
    return {name: value for name, value in found.items() if value is not None}
