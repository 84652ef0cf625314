"""LASSO: the convex competitor of nonconvex penalties."""

from types import SimpleNamespace
from typing import ClassVar

from regbench.methods.method import Paper, weight
from regbench.methods.sparse_regression import penalties
from regbench.methods.sparse_regression.penalized import PenalizedRegression


class Lasso(PenalizedRegression):
    """min_β f(β) + λ ‖β‖₁ (Tibshirani, 1996): sparse, but it shrinks large coefficients as much as small ones."""

    paper: ClassVar[Paper | None] = Paper(
        "Regression Shrinkage and Selection via the Lasso", "Tibshirani", 1996, "Journal of the Royal Statistical Society B"
    )

    sparsity_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="λ", differentiable=True, help="level of the penalty, as a share of λ_max"
    )

    def penalty(self, weights: SimpleNamespace) -> penalties.Penalty:
        """λ |t|."""
        return penalties.Lasso()
