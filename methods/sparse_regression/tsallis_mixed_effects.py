"""A mixed model whose noise maximizes Tsallis' entropy, so that outlying clusters count little."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Metrics, Paper, weight
from regbench.methods.sparse_regression.mixed import Clustered, MixedRegression
from regbench.methods.sparse_regression.mixed_model import tsallis_index
from regbench.methods.sparse_regression.penalties import Lasso, Penalty, Scad


class TsallisMixedEffects(MixedRegression):
    """min (1/N) Σ_i [½ log|V_i| + (ν + n_i)/2 log(1 + δ_i/ν)] + Σ_{j≥1} p_λ(β_j), with V_i = Z_i Ψ Z_iᵀ + σ² I.

    The law of largest Tsallis entropy S_q = (1 - ∫p^q) / (q - 1) under a given location and scatter is, in m dimensions, the
    multivariate t of ν = 2/(q - 1) - m degrees of freedom. So clusters are y_i ~ t_ν(X_i β, V_i), and weighted by
    w_i = (ν + n_i) / (ν + δ_i), where δ_i = r_iᵀ V_i⁻¹ r_i. Z_i holds the ones, and the leading covariates where
    ``random_slopes`` says so. p_λ is SCAD, λ relative to the level from which on β = 0. Fitted by proximal nonlinear conjugate
    gradient with Dai and Yuan's coefficient and a descent safeguard, along falling levels.

    **A reconstruction**: of this part of the thesis only the abstract was at hand. Model, penalty and algorithm are a standard
    instance of what it names. At ν → ∞ and λ = 0 it is the Gaussian mixed model.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Contributions to Robust and Efficient Methods for Analysis of High Dimensional Data", "Yang", 2025, "McGill University"
    )
    off_equals: ClassVar[str | None] = "mixed_effects"

    nu: float | None = weight(
        4.0, off=None, gt=0, symbol="ν", differentiable=True, help="degrees of freedom, q = (ν + m + 2)/(ν + m); None: Gaussian"
    )
    sparsity_weight: float = weight(
        0.3, off=0.0, ge=0, symbol="λ", differentiable=True, help="level of the penalty, as a share of the largest"
    )
    scad_a: float | None = weight(
        3.7, off=None, gt=2, symbol="a", differentiable=True, help="where the penalty gets flat, in units of λ; None: LASSO"
    )

    def tail(self, weights: SimpleNamespace) -> float | Tensor | None:
        """ν."""
        return weights.nu

    def penalty(self, weights: SimpleNamespace) -> Penalty:
        """SCAD, or LASSO, its limit for a → ∞."""
        return Lasso() if weights.scad_a is None else Scad(weights.scad_a)

    def objective(self, model: Tensor, batch: Clustered, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The penalized negative log-likelihood, as a pure function of its arguments.

        Args:
            model: β, the triangle of Ψ's Cholesky factor, and log of σ² less its least value ``[q]``, as in ``MixedModel``.
            batch: the training rows.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar that is minimized, and δ of each cluster ``[N]``.
        """
        problem = self.model(batch.design, weights.sparsity_weight * batch.largest, weights)
        return problem.value(model), problem.parts(model).delta

    def report(self, x: Tensor, batch: Clustered, weights: SimpleNamespace) -> Metrics:
        """Also the objective, and q for a cluster of mean size; 1 for Gaussian ones."""
        size = len(batch.design.y) / int(batch.design.clusters[-1] + 1)
        index = 1.0 if weights.nu is None else tsallis_index(weights.nu, size)
        found = {"tsallis_q": index, "objective": self.objective(x, batch, weights)[0].item()}
        return super().report(x, batch, weights) | found
