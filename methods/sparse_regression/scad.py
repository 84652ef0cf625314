"""SCAD, solved by accelerated gradients."""

from types import SimpleNamespace
from typing import ClassVar

from regbench.methods.method import Paper, weight
from regbench.methods.sparse_regression.penalized import PenalizedRegression
from regbench.methods.sparse_regression.penalties import PAPER, Lasso, Penalty
from regbench.methods.sparse_regression.penalties import Scad as ScadPenalty


class Scad(PenalizedRegression):
    """Regression with the smoothly clipped absolute deviation, which leaves large coefficients unshrunken.

    p_λ(t) = λ|t| up to λ, (2aλ|t| - t² - λ²) / 2(a - 1) up to aλ, (a + 1) λ² / 2 beyond (Fan and Li, 2001), solved by the
    accelerated gradient method of Yang, Asgharian and Bhatnagar (equation 8): α₁ = 1, α_k = 2 / (1 + √(1 + 4/α_{k-1}²)),
    δ = 0.99 / L, x^md = (1 - α_k) x^ag + α_k x, x ← S(x - δ/α_k g, λδ/α_k), x^ag ← S(x^md - δ g, λδ) with g = ∇Ψ(x^md).

    Paper and released code differ; both are there as values of ``solver`` and ``strong_rule``. Not kept are the code's errors
    (a factor 2 in the logistic gradient, signs in the concave parts, its SCAD for MCP). λ here is relative to λ_max.
    """

    paper: ClassVar[Paper | None] = PAPER

    sparsity_weight: float = weight(
        0.3, off=0.0, ge=0, symbol="λ", differentiable=True, help="level of the penalty, as a share of λ_max"
    )
    scad_a: float | None = weight(
        3.7, off=None, gt=2, symbol="a", differentiable=True, help="where the penalty gets flat, in units of λ; None: LASSO"
    )

    def penalty(self, weights: SimpleNamespace) -> Penalty:
        """SCAD, or LASSO, its limit for a → ∞."""
        return Lasso() if weights.scad_a is None else ScadPenalty(weights.scad_a)
