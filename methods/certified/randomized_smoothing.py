"""Randomized smoothing: the baseline of the certified track."""

from typing import ClassVar

from regbench.methods.certified.task import CertifiedMethod
from regbench.methods.method import Paper


class RandomizedSmoothing(CertifiedMethod):
    """Minimizes cross-entropy under Gaussian noise, and certifies R = σ Φ⁻¹(p) for a lower bound p of the vote's share.

    E H(y, f(x + σ ε)), with the noise of the certificate (theorem 1 and section 3.3). The radius cannot exceed σ Φ⁻¹(α^(1/n)).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Certified Adversarial Robustness via Randomized Smoothing", "Cohen, Rosenfeld, Kolter", 2019, "ICML", "1902.02918"
    )
