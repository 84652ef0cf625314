"""EPO: an entropy bonus over turns, with a corridor around the entropy's history."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regbench.methods.agents.corridors import PenaltyForm, Schedule, corridor_penalty, smoothing_weight, turn_mean
from regbench.methods.agents.task import AgentMethod
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.grpo import aggregate, token_entropies
from regbench.methods.shared.reinforcement.task import Batch, Memory, Seen


@dataclass(frozen=True)
class HistoryBatch(Batch):
    """A batch with two scalars.

    Attributes:
        reference: the mean of all earlier steps' entropies; 0 in the first step.
        smoothing: β_k; 0 in the first step, which has no history.
    """

    reference: Tensor
    smoothing: Tensor


class EPO(AgentMethod):
    """Adds -λ (L^H - β_k L^smooth) to GRPO's loss.

    L^H is the entropy of actions, averaged in turns, over turns and over trajectories; L^smooth the same mean of α times how
    far each token's entropy is outside a corridor from κ_l to κ_r times the mean entropy of all earlier steps; β_k falls from 2
    to 1. A token's entropy has a weight of 1 in the corridor, 1 + α β_k below, 1 - α β_k above: α < 0.5 leaves all of them
    positive. With the paper's κ_l = 0 nothing is ever below.

    As in version 2 of the paper. ``penalty_form: indicator`` is that of version 1 and of the released code, which has no
    gradient: training is then that of the entropy bonus alone. Of the code there are also its schedule and its mean over tokens
    (``averaging``), but not its histories for each turn, nor its restriction to batches with a turn of 25 or later.
    """

    paper: ClassVar[Paper | None] = Paper(
        "EPO: Entropy-regularized Policy Optimization for LLM Agents Reinforcement Learning",
        "Xu, Zhao, Wang, Li, Jin, Jin, Mei, Wan, Metaxas",
        2025,
        "arXiv",
        "2509.22576",
    )

    entropy_weight: float = weight(0.001, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of both entropy terms")
    smooth_weight: float = weight(
        0.05, off=0.0, ge=0, symbol="α", differentiable=True, help="weight of departures from the corridor; 0.1 on ALFWorld"
    )
    kappa_low: float = hyperparameter(
        0.0, ge=0, may_change=True, help="κ_l, lower end of the corridor, times the history's mean"
    )
    kappa_high: float = hyperparameter(2.0, gt=0, may_change=True, help="κ_r, upper end; 1.5 in their script")
    decay: float = hyperparameter(3.0, ge=0, may_change=True, help="γ, how fast β_k falls")
    schedule: Schedule = hyperparameter("paper", help="of β_k: paper (2 to 1), released (1 to 0.04) or constant")
    penalty_form: PenaltyForm = hyperparameter("relu", help="relu (version 2), or indicator (version 1), without gradient")
    averaging: Literal["turns", "tokens"] = hyperparameter("turns", help="turns: Eq. 2; tokens: all alike, as released")

    def annotate(self, batch: Batch, statistics: dict[str, Tensor], memory: Memory, step: int, run: Run) -> Batch:
        """Adds the history, to which the step itself does not belong yet."""
        history = memory["entropies"]
        reference = sum(history) / len(history) if history else 0.0
        smoothing = smoothing_weight(step - 1, self.iterations, self.decay, self.schedule) if history else 0.0
        batch = super().annotate(batch, statistics, memory, step, run)
        return HistoryBatch(
            **vars(batch),
            reference=torch.tensor(reference, device=batch.tokens.device),
            smoothing=torch.tensor(smoothing, device=batch.tokens.device),
        )

    def penalty(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor | None:
        """-λ (L^H - β_k L^smooth)."""
        if is_off(weights.entropy_weight):
            return None
        assert isinstance(batch, HistoryBatch)
        entropies = token_entropies(seen.logits)
        entropy = self.mean(entropies, batch)
        if is_off(weights.smooth_weight):
            return -weights.entropy_weight * entropy
        outside = corridor_penalty(entropies, batch.reference, self.kappa_low, self.kappa_high, self.penalty_form)
        smooth = self.mean(weights.smooth_weight * outside, batch)
        return -weights.entropy_weight * (entropy - batch.smoothing * smooth)

    def mean(self, values: Tensor, batch: Batch) -> Tensor:
        """Of tokens' values ``[N, T]``, a scalar."""
        if self.averaging == "tokens":
            return aggregate(values, batch.mask, "token_mean")
        return turn_mean(values, batch.mask, batch.turn)
