"""The private trees task: a greedy decision tree that releases labels. Methods change the score of its splits."""

from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.privacy.attributes import AttributeMethod, Model
from regbench.methods.private_trees.tree import Release, grow, information
from regbench.methods.shared.data.private import PrivateData

TRACK = Track(
    name="private_trees",
    help="labels released by a decision tree, judged by their accuracy and by what they tell of a sensitive attribute",
    metrics=(
        Metric("exposure", "min"),
        Metric("accuracy", "max"),
        Metric("attack_accuracy", "min"),
        Metric("attack_advantage", "min"),
        Metric("information", "min"),
    ),
    data=("private_breast_cancer",),
    baseline="decision_tree",
    smoke={"share": 0.5, "max_leaves": 5},
    iterative=False,
)


class PrivateTreeMethod(AttributeMethod):
    """Grows a tree greedily, best split first, and releases a label for each row.

    ``leaf_release`` is a leaf's most frequent ``label``, or one ``sampled`` from its training rows' labels. ``information`` is
    I(X; Ŷ) over the training rows. A method of the track overrides ``penalty``.
    """

    track: ClassVar[Track] = TRACK

    leaf_release: Release = hyperparameter("label", help="what a leaf releases: its most frequent label, or a sampled one")
    max_leaves: int = hyperparameter(32, ge=1, help="limits the leaves")
    max_depth: int = hyperparameter(6, ge=0, help="limits the splits above a leaf")
    min_rows: int = hyperparameter(3, ge=1, help="least number of training rows in a leaf")
    utility_floor: float = hyperparameter(0.88, ge=0, le=1, help="accuracy below which exposure grows")

    @property
    def penalty(self) -> float:
        """What an increase of I(X; Ŷ) costs a split."""
        return 0.0

    def fit(self, x: Tensor, y: Tensor, data: PrivateData) -> Model:
        """The tree, and the release of its leaves."""
        classes: int = data.meta["classes"]
        tree = grow(
            x,
            y,
            classes,
            self.penalty,
            release=self.leaf_release,
            max_leaves=self.max_leaves,
            max_depth=self.max_depth,
            min_rows=self.min_rows,
        )
        own = tree.counts[tree.column < 0]
        frequent = tree.counts.argmax(1)
        frequency = tree.counts / tree.counts.sum(1, keepdim=True)
        if self.leaf_release == "label":
            return Model(
                predict=lambda rows: frequent[tree.leaves(rows)].to(x),
                release=lambda label, stream: label,
                log_likelihood=lambda released, label: torch.where(released == label, 0.0, NEVER).to(x),
                information=information(own, "label").item(),
            )

        def draw(leaf: Tensor, stream: torch.Generator) -> Tensor:
            return torch.multinomial(frequency[leaf], 1, generator=stream)[:, 0].to(x)

        def log_likelihood(released: Tensor, leaf: Tensor) -> Tensor:
            both = torch.broadcast_tensors(leaf, released.long())
            return frequency[both].log().clamp(min=NEVER)

        return Model(tree.leaves, draw, log_likelihood, information(own, "sampled").item())

    def utility(self, released: Tensor, y: Tensor) -> Metrics:
        """The share of right labels."""
        return {"accuracy": (released == y).double().mean().item()}


# The logarithm of a probability that is 0: finite, so that an attacker may find all values unlikely.
NEVER = -50.0
