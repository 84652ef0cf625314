"""The 80/20 rule: policy gradients of the most uncertain tokens alone."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper, weight
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.shared.reinforcement.grpo import token_entropies, top_share
from regbench.methods.shared.reinforcement.task import Batch, Seen


class HighEntropyTokens(ReasoningMethod):
    """GRPO's loss with 1[H ≥ τ_ρ] at each token: the share ρ of a mini-batch's tokens that is the most uncertain counts.

    The mean is still over all tokens. With ρ = 1 it is GRPO.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM Reasoning",
        "Wang, Yu, Gao, Zheng, Liu, Lu, Dang, Chen, Yang, Zhang, Liu, Yang, Zhao, Yue, Song, Yu, Huang, Lin",
        2025,
        "arXiv",
        "2506.01939",
    )

    token_share: float = weight(
        0.2, off=1.0, gt=0, le=1, symbol="ρ", differentiable=False, help="share of tokens that are learned from"
    )

    def token_losses(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """The clipped losses of the most uncertain tokens, 0 for the others."""
        losses = super().token_losses(seen, batch, weights)
        if weights.token_share == 1:
            return losses
        return losses * top_share(token_entropies(seen.logits.detach()), batch.mask, weights.token_share)
