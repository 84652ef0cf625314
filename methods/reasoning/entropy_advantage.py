"""Advantages that grow with entropy: a competitor of regularizers of entropy."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.shared.reinforcement.grpo import clipped_loss, entropy_advantages, token_entropies
from regbench.methods.shared.reinforcement.task import Batch, Seen


class EntropyAdvantage(ReasoningMethod):
    """GRPO with A + min(α H, |A| / κ) in the place of A, H the entropy of each token without gradient.

    Right tokens that were uncertain are reinforced more, wrong ones punished less.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Reasoning with Exploration: An Entropy Perspective",
        "Cheng, Huang, Zhu, Dai, Zhao, Zhang, Wei",
        2025,
        "arXiv",
        "2506.14758",
    )

    alpha: float = weight(0.4, off=0.0, ge=0, symbol="α", differentiable=True, help="weight of the entropy in the advantage")
    kappa: float = hyperparameter(1.0, gt=0, may_change=True, help="κ: at most |A| / κ is added; 2 in their first code")

    def token_losses(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """The clipped loss of the advantages with entropy."""
        if is_off(weights.alpha):
            return super().token_losses(seen, batch, weights)
        advantages = entropy_advantages(batch.advantages[:, None], token_entropies(seen.logits), weights.alpha, self.kappa)
        return clipped_loss(seen.ratio, advantages, self.clip_low, self.clip_high, self.dual_clip)
