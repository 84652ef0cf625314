"""Tokens by which entropy falls: those whose probability and advantage vary together (KL-Cov and Clip-Cov)."""

import torch
from torch import Tensor

from regbench.methods.method import Paper

PAPER = Paper(
    "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
    "Cui, Zhang, Chen, Yuan, Wang, Zuo, Li, Fan, Chen, Chen, Liu, Peng, Bai, Ouyang, Cheng, Zhou, Ding",
    2025,
    "arXiv",
    "2505.22617",
)
# Below this, single precision does not tell log π_θ from log π_old.
ROUNDING = 1e-5


def token_covariances(log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """(log π - mean) (A - mean) of sampled tokens, the means being over these, without gradient.

    Their mean over samples is the covariance by which a step of the policy gradient lowers the entropy.

    Args:
        log_probs: of sampled tokens ``[N, T]``.
        advantages: A, broadcasts with them.
        mask: 1 on sampled tokens ``[N, T]``.
    """
    count = mask.sum().clamp_min(1)
    columns = (log_probs.detach(), advantages.expand_as(log_probs))
    centred = [value - (value * mask).sum() / count for value in columns]
    return centred[0] * centred[1]


def share_of(mask: Tensor, share: float) -> int:
    """How many tokens a share of the sampled ones is, at least one: max(1, ⌊share n⌋)."""
    return max(1, int(share * int(mask.sum())))


def largest(covariances: Tensor, mask: Tensor, share: float) -> Tensor:
    """1 on the share of sampled tokens with the largest covariances ``[N, T]``, in the mask's type.

    Args:
        covariances: ``[N, T]``.
        mask: ``[N, T]``.
        share: k in (0, 1].
    """
    ranked = torch.where(mask.bool(), covariances, -torch.inf).flatten()
    chosen = torch.zeros_like(mask).flatten()
    chosen[ranked.topk(share_of(mask, share)).indices] = 1
    return chosen.view_as(mask) * mask


def drawn_between(covariances: Tensor, candidates: Tensor, low: float, high: float, draws: Tensor, count: int) -> Tensor:
    """1 on ``count`` candidates with a covariance in (low, high), drawn evenly, or on all where they are fewer.

    Args:
        covariances: ``[N, T]``.
        candidates: which tokens may be drawn ``[N, T]``, bool.
        low: ω_low.
        high: ω_high.
        draws: uniform numbers ``[N, T]``, of which the smallest are taken.
        count: how many.

    Returns:
        ``[N, T]``, bool.
    """
    between = candidates & (covariances > low) & (covariances < high)
    order = torch.where(between, draws, torch.inf).flatten()
    chosen = torch.zeros_like(between).flatten()
    chosen[order.topk(min(count, len(order)), largest=False).indices] = True
    return chosen.view_as(between) & between


def distance(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """|log π_θ - log π_old| of sampled tokens, with which the authors' code stands for the divergence of both.

    At its kink, up to what rounding leaves of log π_θ before the first update, the gradient is 0.
    """
    found = (log_probs - old_log_probs).abs()
    return torch.where(found > ROUNDING, found, found.detach())
