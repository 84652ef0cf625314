"""Regression with a sparse penalty, whichever it is."""

from abc import abstractmethod
from types import SimpleNamespace

from torch import Tensor

from regbench.methods.method import hyperparameter
from regbench.methods.sparse_regression.likelihoods import LIKELIHOODS
from regbench.methods.sparse_regression.linear import Path, StrongRule, largest_level
from regbench.methods.sparse_regression.penalties import Penalty
from regbench.methods.sparse_regression.solvers import Solver
from regbench.methods.sparse_regression.task import Design, Fit, SparseRegressionMethod, fit_of


class PenalizedRegression(SparseRegressionMethod):
    """min_β f(β) + Σ_{j≥1} p_λ(β_j), the intercept free; λ is ``weights.sparsity_weight`` times λ_max of the rows.

    f is ‖y - Xβ‖² / 2n, or the mean logistic loss (equation 5). A method names its penalty. Not convex in general, it is solved
    along a path of falling levels with warm starts (equation 9). A level of 0 gives the track's plain fit.
    """

    solver: Solver = hyperparameter(
        "accelerated",
        help="accelerated (the paper's damping), accelerated_released (its code: first α 0.618, restarts, returns "
        "x^md), accelerated_restart (the paper's with those restarts), ghadimi_lan (original damping), fista_released (step of "
        "the convex part alone), proximal_gradient, or proximal_ncg (conjugate gradient)",
    )
    path_length: int = hyperparameter(50, ge=2, help="levels from the largest to 0, passed through down to the wanted one")
    strong_rule: StrongRule = hyperparameter(
        "sequential",
        help="what is left out at a level: sequential, released (nearly all), or none; what was wrong is brought back",
    )

    @abstractmethod
    def penalty(self, weights: SimpleNamespace) -> Penalty:
        """The penalty with these weights, numbers or scalar tensors."""

    def objective(self, model: Tensor, batch: Design, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """F of equation 5, as a pure function of its arguments.

        Args:
            model: intercept and coefficients ``[1 + p]``.
            batch: the training rows.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar that is minimized, and the linear predictor ``[n]``.
        """
        likelihood = LIKELIHOODS[batch.outcome]
        level = weights.sparsity_weight * largest_level(batch.x, batch.y, likelihood)
        eta = batch.x @ model
        return likelihood.value(eta, batch.y) + self.penalty(weights).value(model[1:], level).sum(), eta

    def fit(self, design: Design, weights: SimpleNamespace) -> Fit:
        """Follows the path down to λ."""
        if not weights.sparsity_weight:
            return super().fit(design, weights)
        likelihood, penalty = LIKELIHOODS[design.outcome], self.penalty(weights)
        level = weights.sparsity_weight * largest_level(design.x, design.y, likelihood).item()
        path = Path(self.solver, self.path_length, self.strong_rule, self.tolerance, self.solver_steps)
        coefficients, steps = path.follow(design.x, design.y, likelihood, penalty, level)
        value = self.objective(coefficients, design, weights)[0].item()
        return fit_of(coefficients, iterations=steps, objective=value)
