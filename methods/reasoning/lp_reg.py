"""Lp-Reg: rare tokens that are no noise are kept alive."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.reasoning.proxies import (
    Direction,
    Selection,
    Threshold,
    exact_divergence,
    proxy_log_probs,
    rare_tokens,
    sampled_divergence,
)
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.shared.reinforcement.task import Batch, Seen


@dataclass(frozen=True)
class ProxyBatch(Batch):
    """A batch with log π_proxy, -∞ for noise: of the sampled tokens ``[N, T]``, for ``exact`` of all ``[N, T, V]``."""

    proxy: Tensor


class LpReg(ReasoningMethod):
    """Adds β I KL(π_proxy ‖ π_θ) to the loss of tokens, π_proxy being the sampling policy without its noise tail, renormalized.

    I is 1 on sampled tokens that are of low probability, not noise, and of negative advantage. Ratios are cut at U = 10 and not
    from below, so that a rare token that is punished goes on to have a gradient: ``clip_low: 1``, ``clip_high: 9``, no dual
    clip.

    ``k3_sample``, the released code, whose figures are the paper's: among those tokens the ones with π_θ(o) < π_proxy(o) have
    the loss -A r + β k₃ of the sampled token alone, uncut. ``exact`` is Eq. 6 as printed, the divergence over the whole
    vocabulary; on-policy its gradient in the protected token's logit is 1/π(o) times smaller. The low percentile is taken over
    all tokens of the mini-batch, as in the paper; the code takes it over those of negative advantage (``selection: lowest``).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Low-probability Tokens Sustain Exploration in Reinforcement Learning with Verifiable Reward",
        "Huang, Xu, Wang, Yi, Gong, Li, Xiong, Li, Jiang, Zhou",
        2025,
        "arXiv",
        "2510.03222",
    )

    divergence_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the divergence from the proxy"
    )
    low_percentile: float = hyperparameter(
        0.01, ge=0, le=1, may_change=True, help="ρ, share of the lowest probabilities that are low; 0.005 for their 32B model"
    )
    threshold: float = hyperparameter(
        0.02, ge=0, may_change=True, help="κ, the least probability that is no noise, as a share of the largest; or τ itself"
    )
    threshold_type: Threshold = hyperparameter("min_p", help="min_p: the threshold is relative to the peak; fixed: absolute")
    divergence: Literal["k3_sample", "exact"] = hyperparameter(
        "k3_sample", help="k3_sample: of the sampled token, as released; exact: over the vocabulary, Eq. 6"
    )
    direction: Direction = hyperparameter("forward", help="forward: KL(π_proxy ‖ π_θ); reverse: the ablation")
    selection: Selection = hyperparameter(
        "percentile", help="percentile: of all tokens; lowest: of those with negative advantage, as released"
    )
    regularize_positive: bool = hyperparameter(False, help="also tokens of positive advantage")
    cap_negative: bool = hyperparameter(
        False, help="cut ratios of negative advantages at U too, as Eq. 6 prints it; the code's maximum leaves them"
    )
    clip_low: float = hyperparameter(1.0, ge=0, le=1, may_change=True, help="ε_low; 1: ratios are not cut from below")
    clip_high: float = hyperparameter(9.0, ge=0, may_change=True, help="U - 1: ratios are cut at U")
    dual_clip: float | None = hyperparameter(
        None, gt=1, may_change=True, help="c, bound of the loss where A < 0; None: no bound"
    )

    def columns(self, batch: Batch, logits: Tensor) -> Batch:
        """The proxy of the policy that sampled the batch."""
        proxy = proxy_log_probs(logits, self.threshold, self.threshold_type, inclusive=self.divergence == "k3_sample")
        if self.divergence == "k3_sample":
            proxy = proxy.gather(2, batch.responses[..., None])[..., 0]
        return ProxyBatch(**vars(batch), proxy=proxy)

    def regularized(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """I ``[N, T]``, bool: which tokens are regularized."""
        assert isinstance(batch, ProxyBatch)
        rare = rare_tokens(
            log_probs, batch.advantages, batch.mask, self.low_percentile, self.selection, positive=self.regularize_positive
        )
        if self.divergence == "k3_sample":
            return rare & batch.proxy.isfinite() & (log_probs.detach() < batch.proxy)
        return rare & batch.proxy.gather(2, batch.responses[..., None])[..., 0].isfinite()

    def token_losses(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """The losses of tokens, with the divergence on those that are regularized."""
        advantages = batch.advantages[:, None]
        losses = super().token_losses(seen, batch, weights)
        if self.cap_negative:
            losses = -advantages * seen.ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        if is_off(weights.divergence_weight):
            return losses
        assert isinstance(batch, ProxyBatch)
        if self.divergence == "k3_sample":
            losses = torch.where(self.regularized(seen.log_probs, batch), -advantages * seen.ratio, losses)
            found = sampled_divergence(seen.log_probs, batch.proxy, self.direction)
        else:
            found = exact_divergence(seen.logits, batch.proxy, self.direction)
        return losses + weights.divergence_weight * torch.where(self.regularized(seen.log_probs, batch), found, 0.0)

    def diagnostics(self, seen: Seen, batch: Batch) -> dict[str, Tensor]:
        """Also the share of tokens that are regularized, and their mean probability."""
        chosen = self.regularized(seen.log_probs, batch)
        count = chosen.sum()
        probability = torch.where(chosen, seen.log_probs.detach().exp(), 0.0).sum() / count.clamp_min(1)
        found = {"regularized": count / batch.mask.sum(), "regularized_probability": probability}
        return super().diagnostics(seen, batch) | found
