"""Ridge regression: shrinkage without selection."""

from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.method import Paper, weight
from regbench.methods.sparse_regression.likelihoods import LIKELIHOODS
from regbench.methods.sparse_regression.linear import PenalizedLinear
from regbench.methods.sparse_regression.solvers import accelerated, minimize
from regbench.methods.sparse_regression.task import Design, Fit, SparseRegressionMethod, fit_of


class SquaredPenalty:
    """p(t) = w t² / 2: all of it smooth, at a level of 0.

    Args:
        strength: w.
    """

    def __init__(self, strength: float | Tensor) -> None:
        self.curvature: float | Tensor = strength

    def value(self, t: Tensor, level: float | Tensor) -> Tensor:
        """W t² / 2."""
        return self.curvature * t.square() / 2

    def smooth_slope(self, t: Tensor, level: float | Tensor) -> Tensor:
        """W t."""
        return self.curvature * t


class Ridge(SparseRegressionMethod):
    """min_β f(β) + w/2 Σ_{j≥1} β_j², the intercept free (Hoerl and Kennard, 1970), on covariates of variance 1."""

    paper: ClassVar[Paper | None] = Paper(
        "Ridge Regression: Biased Estimation for Nonorthogonal Problems", "Hoerl, Kennard", 1970, "Technometrics"
    )

    ridge_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="w", differentiable=True, help="weight of half the squared coefficients"
    )

    def objective(self, model: Tensor, batch: Design, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The penalized loss of coefficients ``[1 + p]``, and their linear predictor ``[n]``."""
        eta = batch.x @ model
        penalty = SquaredPenalty(weights.ridge_weight).value(model[1:], 0.0).sum()
        return LIKELIHOODS[batch.outcome].value(eta, batch.y) + penalty, eta

    def fit(self, design: Design, weights: SimpleNamespace) -> Fit:
        """Squared error in closed form, Xᵀ(XXᵀ + nwI)⁻¹y; the logistic loss by accelerated gradients."""
        if not weights.ridge_weight:
            return super().fit(design, weights)
        if design.outcome == "continuous":
            # Rows and outcomes have mean 0, so the intercept is 0 and apart.
            x, rows = design.x[:, 1:], len(design.x)
            gram = x @ x.T + rows * weights.ridge_weight * torch.eye(rows, dtype=x.dtype, device=x.device)
            coefficients = torch.cat([x.new_zeros(1), torch.linalg.solve(gram, design.y) @ x])
        else:
            penalty = SquaredPenalty(weights.ridge_weight)
            problem = PenalizedLinear(design.x, design.y, LIKELIHOODS[design.outcome], penalty, 0.0)
            # Both parts are convex: their curvatures add.
            problem.lipschitz = problem.convex_lipschitz + weights.ridge_weight
            coefficients, _ = minimize(accelerated(problem, problem.origin()), problem, self.tolerance, self.solver_steps)
        return fit_of(coefficients, objective=self.objective(coefficients, design, weights)[0].item())
