"""KL-Cov: a brake on the tokens by which entropy falls."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.reasoning.covariances import PAPER, distance, largest, token_covariances
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.shared.reinforcement.task import Batch, Seen


class KLCov(ReasoningMethod):
    """Adds β |log π_θ - log π_old| to the loss of the share k of tokens with the largest covariances.

    A token's covariance is (log π_θ - mean) (A - mean), the means being over the mini-batch's tokens: what is likely and better
    than usual, by which entropy falls. No ratio is cut, as in the paper and its code: ``clip_low: 1`` and a ``clip_high`` that
    no ratio reaches. On-policy the distance has no gradient: it needs several updates on what was sampled.
    """

    paper: ClassVar[Paper | None] = PAPER

    penalty_weight: float = weight(1.0, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the distance")
    token_share: float = hyperparameter(
        0.002, gt=0, le=1, may_change=True, help="k, share of tokens that are braked; 0.0002 for their 32B model"
    )
    updates_per_rollout: int = hyperparameter(4, ge=1, help="steps of the optimizer on what was sampled; 1: on-policy")
    clip_low: float = hyperparameter(1.0, ge=0, le=1, may_change=True, help="ε_low; 1: ratios are not cut from below")
    clip_high: float = hyperparameter(1e9, ge=0, may_change=True, help="ε_high; beyond e²⁰, the largest ratio: no cut")
    dual_clip: float | None = hyperparameter(
        None, gt=1, may_change=True, help="c, bound of the loss where A < 0; None: no bound"
    )

    def token_losses(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """The losses of tokens, with the distance for those of large covariance."""
        losses = super().token_losses(seen, batch, weights)
        if is_off(weights.penalty_weight):
            return losses
        covariances = token_covariances(seen.log_probs, batch.advantages[:, None], batch.mask)
        braked = largest(covariances, batch.mask, self.token_share)
        return losses + weights.penalty_weight * braked * distance(seen.log_probs, batch.old_log_probs)
