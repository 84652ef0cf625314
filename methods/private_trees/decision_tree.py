"""A greedy decision tree: the baseline of the private trees track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.private_trees.task import PrivateTreeMethod


class DecisionTree(PrivateTreeMethod):
    """Splits by information gain (Quinlan, 1986), best split first, until no split gains or a limit is met.

    Each method of the track is compared with it.
    """

    paper: ClassVar[Paper | None] = None
