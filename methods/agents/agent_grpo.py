"""Group relative policy optimization over many turns: the baseline of the agents track."""

from typing import ClassVar

from regbench.methods.agents.task import AgentMethod
from regbench.methods.method import Paper


class AgentGRPO(AgentMethod):
    """Reinforces trajectories by their rewards in units of their group's deviation; environment tokens are in no loss.

    A group begins in the same household, with objects in the same places.
    """

    paper: ClassVar[Paper | None] = Paper(
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "Shao, Wang, Zhu, Xu, Song, Bi, Zhang, Zhang, Li, Wu, Guo",
        2024,
        "arXiv",
        "2402.03300",
    )
