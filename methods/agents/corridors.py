"""Entropy of trajectories of many turns, and a corridor around its history (EPO)."""

import math
from typing import Literal

import torch
from torch import Tensor

PenaltyForm = Literal["relu", "indicator"]
Schedule = Literal["paper", "released", "constant"]

# Steps over which the released code's schedule runs, whatever the training's length.
RELEASED_STEPS = 150


def turn_mean(values: Tensor, mask: Tensor, turn: Tensor) -> Tensor:
    """(1/B) Σ_j (1/T_j) Σ_t (1/|τ_{j,t}|) Σ_i x: the mean in a turn, over turns played, over trajectories (Eq. 2).

    Args:
        values: x ``[B, T]``.
        mask: 1 on tokens of actions ``[B, T]``.
        turn: the number of each token's turn ``[B, T]``, int64.
    """
    turns = int(turn.max()) + 1
    zeros = torch.zeros(len(values), turns, dtype=values.dtype, device=values.device)
    kept = mask.to(values.dtype)
    sums, counts = zeros.scatter_add(1, turn, values * kept), zeros.scatter_add(1, turn, kept)
    means = sums / counts.clamp_min(1)
    return (means.sum(1) / (counts > 0).sum(1).clamp_min(1)).mean()


def corridor_penalty(
    entropies: Tensor, reference: Tensor | float, low: float, high: float, form: PenaltyForm = "relu"
) -> Tensor:
    """P = [κ_l H_ref - H]₊ + [H - κ_r H_ref]₊ (Eq. 3), of the shape of the entropies.

    ``indicator``, the first version and the released code: 1 where H ≤ κ_l H_ref or H ≥ κ_r H_ref, else 0; it has no gradient.

    Args:
        entropies: H.
        reference: H_ref, the mean of earlier steps' entropies.
        low: κ_l.
        high: κ_r.
        form: which.
    """
    below, above = low * reference - entropies, entropies - high * reference
    if form == "indicator":
        return ((below >= 0) | (above >= 0)).to(entropies.dtype)
    return below.clamp_min(0) + above.clamp_min(0)


def smoothing_weight(step: int, total: int, decay: float, schedule: Schedule = "paper") -> float:
    """β_k = 1 + e^{-γ k / k_mid}, k_mid = ⌊K / 2⌋ (Eq. 5): from 2 down towards 1.

    ``released``: 1 - 0.2 (1 - e^{-2 k / 75}) up to k = 75, then 0.8 e^{-3 (k - 75) / 75}, for any K. ``constant``: 1.

    Args:
        step: k, from 0.
        total: K.
        decay: γ.
        schedule: which.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "paper":
        return 1 + math.exp(-decay * step / max(1, total // 2))
    middle = RELEASED_STEPS / 2
    if step <= middle:
        return 1 - 0.2 * (1 - math.exp(-2 * step / middle))
    return 0.8 * math.exp(-3 * (step - middle) / middle)
