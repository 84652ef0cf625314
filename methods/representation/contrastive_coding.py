"""Contrastive predictive coding with InfoNCE: the baseline of the representation track."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper
from regbench.methods.representation.dependency import contrastive_objective
from regbench.methods.representation.networks import Embedded
from regbench.methods.representation.task import Batch, Model, RepresentationMethod


class ContrastiveCoding(RepresentationMethod):
    """Tells which y of a batch belongs to an x: minimizes -mean_i [f(x_i, y_i) - log Σ_j e^f(x_i, y_j)], f(x, y) = φ(x)ᵀ ψ(y).

    A bound of the mutual information, which cannot exceed log B: once few factors tell the pairs of a batch apart, nothing asks
    for the others. Several workers contrast pairs each within its own share of a batch.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Representation Learning with Contrastive Predictive Coding", "van den Oord, Li, Vinyals", 2018, "arXiv", "1807.03748"
    )

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Embedded]:
        """The negative InfoNCE objective, and the representations."""
        found = model(batch.x, batch.y)
        return -contrastive_objective(found.x @ found.y.T), found
