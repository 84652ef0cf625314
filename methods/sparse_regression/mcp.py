"""MCP, solved by accelerated gradients."""

from types import SimpleNamespace
from typing import ClassVar

from regbench.methods.method import Paper, weight
from regbench.methods.sparse_regression.penalized import PenalizedRegression
from regbench.methods.sparse_regression.penalties import PAPER, Lasso, Penalty
from regbench.methods.sparse_regression.penalties import Mcp as McpPenalty


class Mcp(PenalizedRegression):
    """Regression with the minimax concave penalty, whose shrinkage fades from 0 on.

    p_λ(t) = λ|t| - t² / 2γ up to γλ, γλ² / 2 beyond (Zhang, 2010), solved like SCAD by the accelerated gradient method of
    Yang, Asgharian and Bhatnagar. γ = 3 is their simulations', 2 their package's. λ here is relative to λ_max.
    """

    paper: ClassVar[Paper | None] = PAPER

    sparsity_weight: float = weight(
        0.3, off=0.0, ge=0, symbol="λ", differentiable=True, help="level of the penalty, as a share of λ_max"
    )
    mcp_gamma: float | None = weight(
        3.0, off=None, gt=1, symbol="γ", differentiable=True, help="where the penalty gets flat, in units of λ; None: LASSO"
    )

    def penalty(self, weights: SimpleNamespace) -> Penalty:
        """MCP, or LASSO, its limit for γ → ∞."""
        return Lasso() if weights.mcp_gamma is None else McpPenalty(weights.mcp_gamma)
