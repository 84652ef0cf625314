"""An encoder that is told the factors: what a representation of this size can hold."""

from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from regbench.methods.method import Paper
from regbench.methods.representation.networks import Embedded, encoder
from regbench.methods.representation.task import Batch, Model, RepresentationMethod
from regbench.methods.shared.data import Data


class SupervisedEncoder(RepresentationMethod):
    """Minimizes the cross-entropy of all factors, averaged, under linear heads on φ(x); it sees no second view.

    The ceiling of its track, and no competitor: the others are not told the factors.
    """

    paper: ClassVar[Paper | None] = None

    def build_model(self, data: Data) -> Any:
        """An encoder with a linear head for each factor."""
        shape, classes = tuple(data.meta["shape"]), tuple(data.meta["classes"])
        phi = encoder(self.architecture, shape, self.channels, self.hidden_dim, self.embedding_dim)
        return Classifier(phi, self.embedding_dim, classes)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Embedded]:
        """The mean cross-entropy over factors and rows, and the representations with the factors' logits as second part."""
        found = model(batch.x, batch.y)
        return cross_entropy(found.y.flatten(0, 1), batch.factors.flatten()), found


class Classifier(nn.Module):
    """An encoder ``x_encoder`` and a linear layer, whose outputs are the logits of all factors."""

    def __init__(self, phi: nn.Module, features: int, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.x_encoder = phi
        self.head = nn.Sequential(nn.Linear(features, len(classes) * max(classes)), nn.Unflatten(1, (len(classes), -1)))
        missing = torch.arange(max(classes)) >= torch.tensor(classes)[:, None]
        self.register_buffer("missing", missing, persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Embedded:
        """φ(x) ``[B, d]``, and logits ``[B, F, K]``, -inf for classes that a factor does not have."""
        phi = self.x_encoder(x)
        return Embedded(phi, self.head(phi).masked_fill(self.missing, -torch.inf))
