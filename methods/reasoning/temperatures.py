"""Right answers sampled at another temperature pull entropy towards a target (AEPO)."""

from typing import Literal

import torch
from torch import Tensor

TemperatureRule = Literal["two_level", "continuous"]


def sampling_temperature(target: float, entropy: float, high: float, low: float, rule: TemperatureRule = "two_level") -> float:
    """The temperature that moves an entropy to its target.

    ``two_level``: ``high`` where the entropy is at most the target, else ``low``. ``continuous``: 1 + target - entropy, within
    [low, high].
    """
    if rule == "two_level":
        return high if entropy <= target else low
    return min(max(1 + target - entropy, low), high)


def auxiliary_objective(
    ratio: Tensor, mask: Tensor, correct: Tensor, clip_low: float, clip_high: float, samples: Tensor | float | None = None
) -> Tensor:
    """(1 / G') Σ_i 1[R_i = 1] (1 / |o_i|) Σ_t min(r, clip(r, 1 - ε_low, 1 + ε_high)), to be maximized.

    At r = 1 its gradient is that of REINFORCE, averaged over a response's tokens. r is of probabilities at a temperature of 1,
    whatever the responses were sampled at: that is what moves the entropy.

    Args:
        ratio: r ``[n, T]``.
        mask: ``[n, T]``.
        correct: 1 on right responses ``[n]``.
        clip_low: ε_low.
        clip_high: ε_high.
        samples: G', where wrong responses have been left out; None: n.
    """
    gains = torch.minimum(ratio, ratio.clamp(1 - clip_low, 1 + clip_high)) * mask
    means = gains.sum(1) / mask.sum(1).clamp_min(1)
    return (correct * means).sum() / (len(ratio) if samples is None else samples)


def expected_update(logits: Tensor, correct: Tensor, temperature: float) -> Tensor:
    """What the auxiliary term expects to add to the logits ``[..., V]`` of one token: π^T R - π Σ_a π^T_a R_a.

    π^T = softmax(z / T). Where all tokens are right this is π^T - π: entropy rises for T > 1, and falls for T < 1.

    Args:
        logits: z.
        correct: R ``[..., V]``, 0 or 1.
        temperature: T.
    """
    right = (logits / temperature).softmax(-1) * correct
    return right - logits.softmax(-1) * right.sum(-1, keepdim=True)
