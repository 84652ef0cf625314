"""Group relative policy optimization: advantages, clipped losses, divergence from a reference, means over tokens.

Shapes: N responses of at most T tokens from a vocabulary of V. A mask ``[N, T]`` is 1 on what the policy has sampled, the end
of the response included, and 0 on padding and on tokens of an environment.

Shao et al., DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models, arXiv:2402.03300, with the
variants of Dr. GRPO (Liu et al., arXiv:2503.20783) and DAPO (Yu et al., arXiv:2503.14476).
"""

import math
from typing import Literal

import torch
from torch import Tensor

Advantage = Literal["grpo", "dr_grpo"]
Aggregation = Literal["token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "seq_mean_token_sum_norm"]

# Added to the standard deviation of a group's rewards.
TINY = 1e-6
# Log-ratios are cut here, as in verl, before they overflow; a divergence's value is cut there.
LARGEST_LOG_RATIO = 20.0
LARGEST_DIVERGENCE = 10.0


def group_advantages(rewards: Tensor, group: int, kind: Advantage = "grpo") -> Tensor:
    """A_i = (R_i - mean) / (std + 10⁻⁶) within each group of ``group`` consecutive responses; ``dr_grpo``: R_i - mean.

    The standard deviation has n - 1 in the denominator. A group of one has mean 0 and deviation 1; one of equal rewards has A =
    0.

    Args:
        rewards: ``[N]``.
        group: responses to one prompt, which divides N.
        kind: whether the deviation counts.

    Returns:
        ``[N]``.
    """
    if group == 1:
        return rewards.clone()
    grouped = rewards.unflatten(0, (-1, group))
    centred = grouped - grouped.mean(1, keepdim=True)
    # Rounding of a mean would otherwise be divided by TINY.
    centred = torch.where((grouped == grouped[:, :1]).all(1, keepdim=True), 0.0, centred)
    if kind == "grpo":
        centred = centred / (grouped.std(1, keepdim=True) + TINY)
    return centred.flatten()


def token_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log π(o_t) ``[N, T]`` of tokens ``[N, T]`` under logits ``[N, T, V]``."""
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def token_entropies(logits: Tensor) -> Tensor:
    """H = logsumexp(z) - Σ_v p_v z_v ``[...]`` of logits ``[..., V]``, in nats; its gradient is -p_v (log p_v + H)."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def probability_ratio(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """R = π_θ(o_t) / π_old(o_t) ``[N, T]``; its logarithm is cut at ±20, as in verl."""
    return (log_probs - old_log_probs).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()


def clipped_loss(
    ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> Tensor:
    """max(-A r, -A clip(r, 1 - ε_low, 1 + ε_high)), and where A < 0 at most -c A (``dual_clip``).

    Args:
        ratio: r ``[N, T]``.
        advantages: A, broadcasts with r.
        clip_low: ε_low.
        clip_high: ε_high.
        dual_clip: c > 1; None: no such bound.

    Returns:
        The loss of each token ``[N, T]``.
    """
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip_low, 1 + clip_high))
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    return loss


def clip_fraction(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, mask: Tensor) -> Tensor:
    """The share of sampled tokens whose clipped branch is the larger one, so that they give no gradient."""
    clipped = torch.where(advantages > 0, ratio > 1 + clip_high, (ratio < 1 - clip_low) & (advantages < 0))
    return (clipped * mask).sum() / mask.sum().clamp_min(1)


def k3_divergence(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """k₃ = eᵘ - u - 1 with u = log π_ref(o_t) - log π_θ(o_t): an unbiased estimate of KL(π_θ ‖ π_ref) from o_t ~ π_θ.

    The value is cut at ±10, as in verl, so that the gradient is 0 beyond. All ``[N, T]``.
    """
    # A large u would give eᵘ = ∞ and a gradient 0 · ∞ = nan; the value is cut from u = 2.62 on in any case.
    u = (reference_log_probs - log_probs).clamp(max=LARGEST_DIVERGENCE)
    return (u.exp() - u - 1).clamp(-LARGEST_DIVERGENCE, LARGEST_DIVERGENCE)


def aggregate(values: Tensor, mask: Tensor, kind: Aggregation, length: int | None = None) -> Tensor:
    """A scalar from values ``[N, T]`` of sampled tokens.

    ``token_mean``: Σ m x / Σ m. ``seq_mean_token_mean``: the mean over responses of Σ_t m x / Σ_t m. ``seq_mean_token_sum``:
    the mean over responses of Σ_t m x. ``seq_mean_token_sum_norm``: that divided by the longest possible response.

    Args:
        values: x; must be finite also where the mask is 0.
        mask: m ``[N, T]``.
        kind: which.
        length: T_max of the last one; None: T.
    """
    kept = values * mask
    if kind == "token_mean":
        return kept.sum() / mask.sum().clamp_min(1)
    if kind == "seq_mean_token_mean":
        return (kept.sum(1) / mask.sum(1).clamp_min(1)).mean()
    total = kept.sum(1).mean()
    return total if kind == "seq_mean_token_sum" else total / (length or values.shape[1])


def entropy_advantages(advantages: Tensor, entropies: Tensor, alpha: float | Tensor, kappa: float) -> Tensor:
    """A + min(α H, |A| / κ), H without gradient: uncertain tokens count for more, and no advantage changes its sign for κ ≥ 1.

    Cheng et al., Reasoning with Exploration: An Entropy Perspective, arXiv:2506.14758, as restated in SIREN's code.

    Args:
        advantages: A, broadcasts with H.
        entropies: H ``[N, T]``.
        alpha: α.
        kappa: κ.
    """
    return advantages + torch.minimum(alpha * entropies.detach(), advantages.abs() / kappa)


def top_share(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """1 on the given share of sampled tokens with the largest values, at least one of them, ``[N, T]``; ties count too."""
    kept = values[mask.bool()]
    count = max(1, math.ceil(share * len(kept)))
    threshold = kept.topk(count).values[-1]
    return (values >= threshold) * mask
