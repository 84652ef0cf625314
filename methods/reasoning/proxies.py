"""A policy without its noise tail as its own reference, and the divergence from it on rare tokens (Lp-Reg)."""

import math
from typing import Literal

import torch
from torch import Tensor

from regbench.methods.shared.reinforcement.grpo import k3_divergence

Threshold = Literal["min_p", "fixed"]
Selection = Literal["percentile", "lowest"]
Direction = Literal["forward", "reverse"]


def proxy_log_probs(logits: Tensor, threshold: float, kind: Threshold = "min_p", *, inclusive: bool = False) -> Tensor:
    """Log π_proxy ``[..., V]``: probabilities above τ, renormalized; -∞ for the others (Eq. 5).

    τ = κ max_v π(v) (``min_p``), or τ itself (``fixed``). Where nothing is above τ, all are -∞. Without gradient.

    Args:
        logits: of the policy that gave the data ``[..., V]``.
        threshold: κ or τ.
        kind: which of both it is.
        inclusive: whether π = τ is kept, as in the released code; the paper's Eq. 5 does not.
    """
    log_p = logits.detach().log_softmax(-1)
    p = log_p.exp()
    tau = threshold * p.amax(-1, keepdim=True) if kind == "min_p" else torch.full_like(p[..., :1], threshold)
    kept = p >= tau if inclusive else p > tau
    mass = torch.where(kept, p, 0.0).sum(-1, keepdim=True)
    return torch.where(kept, log_p - mass.clamp_min(torch.finfo(p.dtype).tiny).log(), -torch.inf)


def rare_tokens(
    log_probs: Tensor, advantages: Tensor, mask: Tensor, share: float, rule: Selection = "percentile", *, positive: bool = False
) -> Tensor:
    """Which sampled tokens are of low probability and of negative advantage ``[N, T]``, bool.

    ``percentile`` (paper): log π_θ(o) below the ρ-th percentile over all sampled tokens of the batch, interpolated linearly,
    and A < 0. ``lowest`` (released code): the ⌊ρ n⌋ lowest of the n sampled tokens with A < 0, none where that is below two.

    Args:
        log_probs: of the sampled tokens under the policy in training ``[N, T]``.
        advantages: A ``[N]``.
        mask: ``[N, T]``.
        share: ρ.
        rule: which.
        positive: whether tokens with A > 0 are looked at in the same way.
    """
    found, sampled = log_probs.detach(), mask.bool()
    signs = [advantages[:, None] < 0, advantages[:, None] > 0][: 1 + positive]
    if rule == "percentile":
        values = found[sampled]
        if not len(values):
            return sampled
        return (found < _quantile(values, share)) & sampled & torch.stack([sign.expand_as(sampled) for sign in signs]).any(0)
    chosen = torch.zeros_like(sampled)
    for sign in signs:
        candidates = sampled & sign
        count = math.floor(share * int(candidates.sum()))
        if count > 1:
            lowest = torch.where(candidates, found, torch.inf).flatten().topk(count, largest=False).indices
            chosen.view(-1)[lowest] = True
    return chosen


def _quantile(values: Tensor, share: float) -> Tensor:
    """The quantile of values ``[M]`` by linear interpolation; torch.quantile refuses more than 16 million."""
    ordered = values.sort().values
    place = share * (len(values) - 1)
    below = min(int(place), len(values) - 1)
    return torch.lerp(ordered[below], ordered[min(below + 1, len(values) - 1)], place - below)


def exact_divergence(logits: Tensor, proxy: Tensor, direction: Direction = "forward") -> Tensor:
    """KL(π_proxy ‖ π_θ) ``[...]`` over the vocabulary (Eq. 6); its gradient in the logits is π_θ - π_proxy.

    ``reverse``: Σ π_θ (log π_θ - log π_proxy) over the proxy's support, outside of which it would be infinite. 0 where the
    proxy keeps nothing.

    Args:
        logits: of the policy in training ``[..., V]``.
        proxy: log π_proxy ``[..., V]``.
        direction: which.
    """
    log_p = logits.log_softmax(-1)
    kept = proxy.isfinite()
    known = torch.where(kept, proxy, 0.0)
    outer = known.exp() if direction == "forward" else log_p.exp()
    difference = known - log_p if direction == "forward" else log_p - known
    return torch.where(kept, outer * difference, 0.0).sum(-1)


def sampled_divergence(log_probs: Tensor, proxy: Tensor, direction: Direction = "forward") -> Tensor:
    """k₃ = eᵘ - u - 1 of sampled tokens ``[N, T]``, u = log π_proxy(o) - log π_θ(o), its value cut at 10 as released.

    Over o ~ π_θ its gradient is on average that of KL(π_proxy ‖ π_θ); ``reverse``: -u in the place of u. 0 where the proxy does
    not keep o.
    """
    kept = proxy.isfinite()
    known = torch.where(kept, proxy, log_probs.detach())
    found = k3_divergence(log_probs, known) if direction == "forward" else k3_divergence(known, log_probs)
    return torch.where(kept, found, 0.0)
