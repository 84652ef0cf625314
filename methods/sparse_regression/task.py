"""The sparse regression task: fit a few problems and judge the fits. A method overrides only how one problem is fitted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.multiple_instance.metrics import auroc
from regbench.methods.run import Run
from regbench.methods.shared.data.sparse_problems import Outcome, Problem, Problems
from regbench.methods.shared.problems import ProblemMethod
from regbench.methods.sparse_regression.likelihoods import LIKELIHOODS
from regbench.methods.sparse_regression.linear import PenalizedLinear
from regbench.methods.sparse_regression.penalties import Lasso
from regbench.methods.sparse_regression.solvers import accelerated, minimize

TRACK = Track(
    name="sparse_regression",
    help="coefficients of more covariates than rows, judged by prediction of unseen rows and by which covariates are found",
    metrics=(
        Metric("relative_deviance", "min"),
        Metric("estimation_error", "min"),
        Metric("auroc", "max"),
        Metric("ppv", "max"),
        Metric("npv", "max"),
    ),
    data=(
        "sparse_toeplitz",
        "sparse_toeplitz_09",
        "sparse_binary",
        "squared_covariates",
        "clustered",
        "clustered_outliers",
        "clustered_slopes",
        "clustered_slopes_outliers",
        "toeplitz_blocks",
        "toeplitz_blocks_01",
        "toeplitz_blocks_09",
        "toeplitz_blocks_binary",
        "abide_cortical",
        "abide_cortical_squares",
        "abide_cortical_binary",
        "abide_cortical_squares_binary",
    ),
    baseline="maximum_likelihood",
    smoke={"problems": 2, "path_length": 4, "solver_steps": 40, "mi_grid": 64},
    iterative=False,
)


@dataclass(frozen=True)
class Design:
    """The training rows of a problem in the units in which they are fitted.

    Attributes:
        x: ones, then the covariates, of mean 0 and variance 1, ``[n, 1 + p]``.
        y: the outcomes ``[n]``: of mean 0 and variance 1 where continuous, else 0 or 1.
        clusters: the cluster of each row, ascending from 0 ``[n]``.
        outcome: continuous or binary.
    """

    x: Tensor
    y: Tensor
    clusters: Tensor
    outcome: Outcome

    def restrict(self, kept: Tensor) -> "Design":
        """The design of some covariates, given by their numbers from 0."""
        return Design(self.x[:, torch.cat([kept.new_zeros(1), kept + 1])], self.y, self.clusters, self.outcome)


@dataclass(frozen=True)
class Fit:
    """What a method found on one design.

    Attributes:
        coefficients: the intercept, then the covariates' coefficients in the design's units, ``[1 + p]``.
        selected: the covariates that it holds for relevant, bool ``[p]``.
        scores: how relevant it holds each one ``[p]``.
        diagnostics: further numbers, reported as means over problems.
    """

    coefficients: Tensor
    selected: Tensor
    scores: Tensor
    diagnostics: Metrics = field(default_factory=dict)


class SparseRegressionMethod(ProblemMethod):
    """Fits one problem a round and yields the means over the problems fitted so far.

    Covariates are brought to mean 0 and variance 1, continuous outcomes too, and the coefficients back to their own units:
    weights mean the same on all scales. Each fit is judged on the problem's unseen rows and by the truth behind it.

    A method of the track overrides ``fit``; this class maximizes the likelihood, which is also what every penalized method does
    when its weights are off.
    """

    track: ClassVar[Track] = TRACK

    problems: int = hyperparameter(5, ge=1, help="problems that are drawn and fitted, in validation and again in test")
    solver_steps: int = hyperparameter(2000, ge=1, help="at most so many iterations of a solver, for each value on a path")
    tolerance: float = hyperparameter(1e-6, gt=0, help="residual of the optimality condition at which a solver stops")

    def fit(self, design: Design, weights: SimpleNamespace) -> Fit:
        """Estimates the coefficients of one problem.

        Args:
            design: its training rows.
            weights: the method's regularization weights as attributes.
        """
        if design.outcome == "continuous":
            coefficients = torch.linalg.pinv(design.x) @ design.y
            return fit_of(coefficients)
        # Separable rows have no finite estimate: then the solver's limit decides, as early stopping does.
        plain = PenalizedLinear(design.x, design.y, LIKELIHOODS[design.outcome], Lasso(), 0.0)
        coefficients, steps = minimize(accelerated(plain, plain.origin()), plain, self.tolerance, self.solver_steps)
        return fit_of(coefficients, iterations=steps)

    def train(self, run: Run) -> Iterator[Metrics]:
        """Fits the run's problems."""
        if not isinstance(run.data.validation, Problems):
            raise ConfigError(f"{run.data.name} holds no regression problems: choose one of {', '.join(self.track.data)}")
        drawn, totals = self.draw(run), dict[str, float]()
        run.restore(totals=totals)
        yield from self.solve_all(drawn, totals, run)

    def judge(self, pool: TensorDataset, index: int, run: Run) -> Metrics:
        """Fits one problem and judges the fit on its unseen rows and by the truth behind it."""
        assert isinstance(pool, Problems)
        problem = pool.draw(index).to(run.device)
        design, units = standardize(problem)
        fit = self.fit(design, self.weight_values())
        return fit_metrics(fit, units.restore(fit.coefficients), problem) | fit.diagnostics


@dataclass(frozen=True)
class Units:
    """Means and standard deviations of a problem's training rows: covariates ``[p]``, outcome (0 and 1 where binary)."""

    x_mean: Tensor
    x_scale: Tensor
    y_mean: Tensor
    y_scale: Tensor

    def restore(self, coefficients: Tensor) -> Tensor:
        """Intercept and coefficients ``[1 + p]`` in the problem's units."""
        slopes = coefficients[1:] * self.y_scale / self.x_scale
        intercept = self.y_mean + self.y_scale * coefficients[:1] - (self.x_mean * slopes).sum()
        return torch.cat([intercept, slopes])


def standardize(problem: Problem) -> tuple[Design, Units]:
    """The design of a problem, and the way back. A covariate that does not vary stays 0."""
    x_mean, x_scale = problem.x.mean(0), problem.x.std(0, correction=0)
    x_scale = torch.where(x_scale > 0, x_scale, 1.0)
    y_mean, y_scale = problem.y.mean(), problem.y.std(correction=0)
    if problem.outcome == "binary":
        y_mean, y_scale = torch.zeros_like(y_mean), torch.ones_like(y_scale)
    x = torch.cat([torch.ones_like(problem.x[:, :1]), (problem.x - x_mean) / x_scale], 1)
    design = Design(x, (problem.y - y_mean) / y_scale, problem.clusters, problem.outcome)
    return design, Units(x_mean, x_scale, y_mean, y_scale)


def fit_of(coefficients: Tensor, **diagnostics: float) -> Fit:
    """The fit that selects what is not 0, and ranks by size."""
    slopes = coefficients[1:]
    return Fit(coefficients, slopes != 0, slopes.abs(), {name: float(value) for name, value in diagnostics.items()})


def fit_metrics(fit: Fit, coefficients: Tensor, problem: Problem) -> Metrics:
    """How good a fit is.

    Args:
        fit: what was selected.
        coefficients: intercept and coefficients in the problem's units ``[1 + p]``.
        problem: the truth.

    Returns:
        ``relative_deviance`` of unseen rows, 1 for the training rows' mean; ``estimation_error`` ‖β̂ - β‖₂; ``auroc`` of the
        scores for telling relevant covariates; ``ppv``, the share of the selected ones that are relevant, and ``npv``, that of
        the others that are not, 0 where there are none; and how many are ``selected``.
    """
    likelihood = LIKELIHOODS[problem.outcome]
    eta = coefficients[0] + problem.held_x @ coefficients[1:]
    plain = likelihood.link(problem.y.mean()).expand_as(eta)
    relevant, selected = problem.relevant, fit.selected
    return {
        "relative_deviance": (likelihood.value(eta, problem.held_y) / likelihood.value(plain, problem.held_y)).item(),
        "estimation_error": (coefficients[1:] - problem.coefficients).norm().item(),
        "auroc": auroc(torch.stack([-fit.scores, fit.scores], 1), relevant.long()),
        "ppv": ((selected & relevant).sum() / selected.sum().clamp(min=1)).item(),
        "npv": ((~selected & ~relevant).sum() / (~selected).sum().clamp(min=1)).item(),
        "selected": float(selected.sum()),
    }
