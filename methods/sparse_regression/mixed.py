"""Linear mixed models, whichever their noise: random intercepts and slopes, fitted by proximal conjugate gradient."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, hyperparameter
from regbench.methods.sparse_regression.mixed_model import MixedModel, NullModel
from regbench.methods.sparse_regression.penalties import Lasso, Penalty
from regbench.methods.sparse_regression.solvers import minimize, proximal_ncg
from regbench.methods.sparse_regression.task import Design, Fit, SparseRegressionMethod, fit_of


@dataclass(frozen=True)
class Clustered:
    """Training rows, and the level of the penalty from which on β = 0."""

    design: Design
    largest: float


class MixedRegression(SparseRegressionMethod):
    """min over β, Ψ, σ² of the mixed model's negative log-likelihood, Gaussian and without penalty.

    V_i = Z_i Ψ Z_iᵀ + σ² I: a random intercept for each cluster, and random slopes of ``random_slopes`` leading covariates.

    Residual variance is kept above a thousandth of the outcome's: with more covariates than rows it would fall to 0. There,
    stop early or penalize. Needs a continuous outcome; unseen clusters are predicted by Xβ.
    """

    solver_steps: int = hyperparameter(500, ge=1, help="at most so many iterations of the solver, for each value on a path")
    tolerance: float = hyperparameter(1e-5, gt=0, help="residual of the optimality condition at which the solver stops")
    path_length: int = hyperparameter(10, ge=2, help="levels from the largest to 0, passed through down to the wanted one")
    random_slopes: int = hyperparameter(
        0, ge=0, help="leading covariates whose effects vary from cluster to cluster; 0: only the intercept does"
    )

    def model(self, design: Design, level: float | Tensor, weights: SimpleNamespace) -> MixedModel:
        """The problem at a level of the penalty."""
        tail, penalty = self.tail(weights), self.penalty(weights)
        return MixedModel(design.x, design.y, design.clusters, tail, penalty, level, self.random_slopes)

    def tail(self, weights: SimpleNamespace) -> float | Tensor | None:
        """ν; None for Gaussian clusters."""
        return None

    def penalty(self, weights: SimpleNamespace) -> Penalty:
        """The penalty of the coefficients, where there is one."""
        return Lasso()

    def null(self, design: Design, weights: SimpleNamespace) -> Tensor:
        """The fit in which an intercept alone is not random ``[q]``."""
        problem = NullModel(design.x, design.y, design.clusters, self.tail(weights), Lasso(), 0.0, self.random_slopes)
        return self.solve(problem, problem.origin())[0]

    def fit(self, design: Design, weights: SimpleNamespace) -> Fit:
        """Follows falling levels from that at which β = 0 to the wanted share of it."""
        if design.outcome != "continuous":
            raise ConfigError(f"{self.slug} needs a continuous outcome: choose other data, or scad for a binary one")
        covariates = design.x.shape[1] - 1
        if self.random_slopes > covariates:
            raise ConfigError(f"random_slopes is {self.random_slopes}, but there are {covariates} covariates: set it lower")
        x = self.null(design, weights)
        share, steps = getattr(weights, "sparsity_weight", 0.0), 0
        unpenalized = self.model(design, 0.0, weights)
        largest = unpenalized.split(unpenalized.loss_gradient(x))[0][1:].abs().max().item()
        shares = [part for part in torch.linspace(1, 0, self.path_length, dtype=torch.float64).tolist() if part > share]
        for part in [*shares, share] if share else [0.0]:
            problem = self.model(design, part * largest, weights)
            x, spent = self.solve(problem, x)
            steps += spent
        return fit_of(unpenalized.split(x)[0], **self.report(x, Clustered(design, largest), weights), iterations=steps)

    def report(self, x: Tensor, batch: Clustered, weights: SimpleNamespace) -> Metrics:
        """Diagnostics of a fit: variances in units of the outcome's, and the weight of the cluster that counts least."""
        problem = self.model(batch.design, 0.0, weights)
        found = problem.parts(x)
        variances = found.psi.diagonal()
        slopes = {"slope_variance": variances[1:].mean().item()} if self.random_slopes else {}
        return slopes | {
            "intercept_variance": variances[0].item(),
            "noise_variance": found.sigma.item(),
            "least_weight": problem.weights(found.delta).amin().item(),
        }

    def solve(self, problem: MixedModel, start: Tensor) -> tuple[Tensor, int]:
        """The minimizer, and the iterations that it took."""
        return minimize(proximal_ncg(problem, start, growth=1.25), problem, self.tolerance, self.solver_steps)
