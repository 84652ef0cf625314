"""The naive entropy bonus: what selective regularizers of entropy are compared with."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper, is_off, weight
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.shared.reinforcement.grpo import aggregate, token_entropies
from regbench.methods.shared.reinforcement.task import Batch, Seen


class EntropyBonus(ReasoningMethod):
    """Subtracts λ times the mean entropy of all tokens from GRPO's loss, aggregated as that is.

    Every token of the vocabulary gains from it at every position, also those that are noise: beyond some weight, probability
    spreads over all of them.
    """

    paper: ClassVar[Paper | None] = None

    entropy_weight: float = weight(0.01, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the entropy")

    def penalty(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor | None:
        """-λ agg(H)."""
        if is_off(weights.entropy_weight):
            return None
        return -weights.entropy_weight * aggregate(token_entropies(seen.logits), batch.mask, self.aggregation, batch.longest)
