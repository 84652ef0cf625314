"""The Gaussian linear mixed model: what the robust one is compared with."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.sparse_regression.mixed import MixedRegression


class MixedEffects(MixedRegression):
    """y_i ~ N(X_i β, Z_i Ψ Z_iᵀ + σ² I) for each cluster i, by maximum likelihood (Laird and Ware, 1982), without a penalty."""

    paper: ClassVar[Paper | None] = Paper("Random-Effects Models for Longitudinal Data", "Laird, Ware", 1982, "Biometrics")
    off_equals: ClassVar[str | None] = "mixed_effects"
