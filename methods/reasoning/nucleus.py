"""Entropy of meaningful tokens at meaningful places: nuclei of the vocabulary, peaks of a response (SIREN)."""

from typing import Literal

import torch
from torch import Tensor

NucleusRule = Literal["inclusive", "exclusive"]
EmptyRule = Literal["zero", "skip"]


def nucleus_entropies(logits: Tensor, top_p: float, rule: NucleusRule = "inclusive") -> Tensor:
    """H = -Σ p̃ log p̃ ``[...]`` of the renormalized nucleus of logits ``[..., V]``, in nats.

    The nucleus holds the largest probabilities: ``inclusive``, as long as the mass before each is below p*; ``exclusive`` (the
    released code), as long as the mass with it is, so that the one that reaches p* is left out, and where the first one does,
    the entropy is 0. Membership is a constant; the gradient in logits outside is 0.

    Args:
        logits: ``[..., V]``.
        top_p: p* in (0, 1]; 1 with ``inclusive``: all tokens.
        rule: which.
    """
    ordered = logits.sort(-1, descending=True).values
    p = ordered.detach().softmax(-1)
    mass = p.cumsum(-1)
    if rule == "exclusive":
        kept = mass < top_p
    else:
        kept = (mass - p < top_p) | (top_p >= 1)
    # Of an empty nucleus the logarithm of 0 would have a gradient.
    safe = torch.where(kept | ~kept.any(-1, keepdim=True), ordered, -torch.inf)
    shares = safe.softmax(-1)
    logs = torch.where(kept, safe - safe.logsumexp(-1, keepdim=True), 0.0)
    return -torch.where(kept, shares * logs, 0.0).sum(-1)


def peaks(entropies: Tensor, mask: Tensor, quantile: float | None) -> Tensor:
    """1 where a token's entropy is above the quantile of its response's ``[N, T]``, in the mask's type; None: the mask.

    The quantile is over sampled tokens, interpolated linearly; entropies that are all equal have no peak.

    Args:
        entropies: ``[N, T]``.
        mask: ``[N, T]``.
        quantile: τ in [0, 1].
    """
    if quantile is None:
        return mask
    found = entropies.detach()
    limits = torch.where(mask.bool(), found, torch.nan).nanquantile(quantile, dim=1, keepdim=True)
    return (found > limits) * mask


def peak_mean(entropies: Tensor, chosen: Tensor, empty: EmptyRule = "zero") -> Tensor:
    """The mean over responses of the mean entropy of their chosen tokens.

    Args:
        entropies: ``[N, T]``.
        chosen: 1 on the tokens that count ``[N, T]``.
        empty: a response without any counts as 0, as in the released code, or is left out (``skip``).
    """
    count = chosen.sum(1)
    means = (entropies * chosen).sum(1) / count.clamp_min(1)
    return means.mean() if empty == "zero" else means.sum() / (count > 0).sum().clamp_min(1)


def anchored_loss(entropy: Tensor, anchor: float | Tensor) -> Tensor:
    """(H - H_anchor)²."""
    return (entropy - anchor) ** 2
