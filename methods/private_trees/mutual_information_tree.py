"""MID for decision trees: splits pay for the information that the released label carries about the input."""

from typing import ClassVar

from regbench.methods.method import Paper, weight
from regbench.methods.privacy.mutual_information_defense import PAPER
from regbench.methods.private_trees.task import PrivateTreeMethod


class MutualInformationTree(PrivateTreeMethod):
    """Greedy splits by the gain in information about the label minus λ times the increase of I(X; Ŷ) (eq. 8).

    A leaf that releases its most frequent label gives I(X; Ŷ) = H(Ŷ); one that samples gives H(Ŷ) - Σ_l p_l H(Ŷ | l), which
    grows exactly by the gain, so that the score is (1 - λ) times it and a tree for λ < 1 is the plain one. A split that
    changes no released label costs nothing, one that makes labels more even does.

    A reconstruction: the paper treats decision trees, but how could not be read, and its code is for networks alone. The
    default of λ is ours.
    """

    paper: ClassVar[Paper | None] = PAPER

    tree_lambda: float = weight(
        0.5,
        off=0.0,
        ge=0,
        symbol="λ",
        differentiable=False,
        help="price of a nat of information about the input, in nats of gain",
    )

    @property
    def penalty(self) -> float:
        """λ."""
        return self.tree_lambda
