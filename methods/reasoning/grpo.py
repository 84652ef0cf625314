"""Group relative policy optimization: the baseline of the reasoning track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.reasoning.task import ReasoningMethod


class GRPO(ReasoningMethod):
    """Reinforces responses by their rewards in units of their group's deviation, with clipped ratios.

    Settings make it Dr. GRPO (``advantage: dr_grpo``, ``aggregation: seq_mean_token_sum_norm``) or give it the higher clip of
    DAPO (``clip_high: 0.28``).
    """

    paper: ClassVar[Paper | None] = Paper(
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "Shao, Wang, Zhu, Xu, Song, Bi, Zhang, Zhang, Li, Wu, Guo",
        2024,
        "arXiv",
        "2402.03300",
    )
