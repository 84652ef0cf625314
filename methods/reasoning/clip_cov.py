"""Clip-Cov: no gradient for a few of the tokens by which entropy falls."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.reasoning.covariances import PAPER, drawn_between, share_of, token_covariances
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.task import Batch, Memory, Seen


@dataclass(frozen=True)
class DrawnBatch(Batch):
    """A batch with a uniform number for each token ``[N, T]``, by which tokens are drawn."""

    draws: Tensor


class ClipCov(ReasoningMethod):
    """Leaves the share r of tokens without a loss, drawn among those with a covariance in (ω_low, ω_high).

    A token's covariance is (log π_θ - mean) (A - mean), the means being over the mini-batch's tokens; tokens that the ratio's
    cut has taken already are not drawn. Where fewer are in the interval than the share asks for, all of them are taken. The
    mean is still over all tokens.
    """

    paper: ClassVar[Paper | None] = PAPER

    token_share: float = weight(
        0.0002, off=0.0, ge=0, le=1, symbol="r", differentiable=False, help="share of tokens that have no loss, one at least"
    )
    covariance_low: float = hyperparameter(1.0, may_change=True, help="ω_low, least covariance of such a token")
    covariance_high: float = hyperparameter(5.0, may_change=True, help="ω_high, its largest")
    updates_per_rollout: int = hyperparameter(4, ge=1, help="steps of the optimizer on what was sampled; 1: on-policy")
    dual_clip: float | None = hyperparameter(
        None, gt=1, may_change=True, help="c, bound of the loss where A < 0; None: no bound"
    )

    def annotate(self, batch: Batch, statistics: dict[str, Tensor], memory: Memory, step: int, run: Run) -> Batch:
        """Draws a number for each token, from a stream of their own."""
        stream = run.generator("clipped tokens", run.device)
        draws = torch.rand(batch.mask.shape, generator=stream, device=batch.mask.device)
        return DrawnBatch(**vars(batch), draws=draws)

    def dropped(self, seen: Seen, batch: Batch, share: float) -> Tensor:
        """Which tokens have no loss ``[N, T]``, bool."""
        assert isinstance(batch, DrawnBatch)
        advantages = batch.advantages[:, None]
        # Where the cut branch is the larger one: A > 0 above 1 + ε_high, A < 0 below 1 - ε_low.
        beyond = torch.where(advantages > 0, seen.ratio > 1 + self.clip_high, seen.ratio < 1 - self.clip_low)
        candidates = batch.mask.bool() & ~(beyond & (advantages != 0))
        covariances = token_covariances(seen.log_probs, advantages, batch.mask)
        count = share_of(batch.mask, share)
        return drawn_between(covariances, candidates, self.covariance_low, self.covariance_high, batch.draws, count)

    def token_losses(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """The clipped losses, 0 for the tokens drawn."""
        losses = super().token_losses(seen, batch, weights)
        if not weights.token_share:
            return losses
        return torch.where(self.dropped(seen, batch, weights.token_share), 0.0, losses)
