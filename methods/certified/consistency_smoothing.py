"""Consistency regularization of smoothed classifiers: predictions under several noise draws shall agree."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.certified.smoothing import Parts
from regbench.methods.certified.task import Batch, CertifiedMethod
from regbench.methods.method import Paper, hyperparameter, is_off, weight

# Probabilities are kept from 0, as in the released code of dual smoothing.
LEAST = 1e-6


class ConsistencySmoothing(CertifiedMethod):
    """Cross-entropy under k noise draws, plus the divergence of their predictions from the mean one and that one's entropy.

    L = (1/k) Σ_j H(y, p_j) + λ [(1/k) Σ_j KL(p̄ ‖ p_j) + η H(p̄)], with p_j = softmax f(x + σ ε_j) and p̄ their mean, through
    which gradients flow too (equations 7 and 8). A vote that noise does not sway has a larger radius; the entropy makes the
    mean confident. A large λ at much noise gives a constant prediction.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Consistency Regularization for Certified Robustness of Smoothed Classifiers",
        "Jeong, Shin",
        2020,
        "NeurIPS",
        "2006.04062",
    )

    consistency_weight: float = weight(
        15.0, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the divergence from the mean prediction"
    )
    entropy_weight: float = weight(
        0.05, off=0.0, ge=0, symbol="η", differentiable=True, help="weight of the mean prediction's entropy, relative to λ"
    )
    num_noise: int = hyperparameter(4, ge=1, may_change=True, help="noise draws k for each training image and step")

    def objective(self, model: Parts, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy plus weighted divergence and entropy, summed over parts."""
        loss, logits = super().objective(model, batch, weights)
        if is_off(weights.consistency_weight):
            return loss, logits
        divergence, entropy = spread_and_entropy(logits)
        consistency = divergence + weights.entropy_weight * entropy  # [P, B]
        return loss + weights.consistency_weight * consistency.mean(1).sum(), logits


def spread_and_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(1/k) Σ_j KL(p̄ ‖ p_j) and H(p̄), each ``[P, B]``, for logits ``[P, k, B, K]`` (eq. T3)."""
    p = logits.softmax(3)
    mean = p.mean(1).clamp(min=LEAST)  # [P, B, K]
    log_mean = mean.log()
    divergence = (mean[:, None] * (log_mean[:, None] - p.clamp(min=LEAST).log())).sum(3).mean(1)
    return divergence, -(mean * log_mean).sum(2)
