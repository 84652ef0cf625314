"""A user's file: a method, a data set, a network and a metric of one's own."""

import math
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from regbench.methods import Data, Paper, dataset, hyperparameter, weight
from regbench.methods.classification.architectures import Architecture
from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.metrics import metric
from regbench.methods.shared.factories import architecture


class LogitPenalty(ClassificationMethod):
    """Cross-entropy plus λ times the mean squared logit."""

    slug: ClassVar[str] = "logit_penalty"
    paper: ClassVar[Paper | None] = None

    architecture: Architecture = hyperparameter("normalized_net", help="network: by default one of this file's")
    penalty: float = weight(
        0.01,
        off=0.0,
        ge=0,
        symbol="λ",
        differentiable=True,
        help="weight of the mean squared logit",
        search={"low": 1e-4, "high": 1.0, "log": True},
    )

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The loss with the penalty."""
        logits = model(batch.x)
        return cross_entropy(logits, batch.y) + weights.penalty * logits.square().mean(), logits


@architecture("normalized_net")
def normalized_net(shape: tuple[int, ...], classes: int, channels: int = 4, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A convolution, of a table's rows a linear layer, batch normalization, dropout and a linear layer."""
    if len(shape) == 1:
        first: list[nn.Module] = [nn.Linear(shape[0], channels), nn.BatchNorm1d(channels)]
    else:
        first = [nn.Conv2d(shape[0], channels, 3, padding=1), nn.BatchNorm2d(channels)]
    return nn.Sequential(
        *first, activation(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(channels * math.prod(shape[1:]), classes)
    )


@dataset("stripes", help="stripes across or along, 6 x 6 pixels, drawn anew: 120 / 60 / 60", tracks=["classification"])
def stripes(split: int = 0) -> Data:
    """Noise whose rows, or columns, have means of their own."""
    generator = torch.Generator().manual_seed(split)

    def draw(count: int) -> TensorDataset:
        y = torch.randint(2, (count,), generator=generator)
        x = torch.rand(count, 1, 6, 6, generator=generator) + torch.rand(count, 1, 6, 1, generator=generator)
        return TensorDataset(torch.where(y[:, None, None, None] == 1, x.transpose(2, 3), x), y)

    return Data("stripes", draw(120), draw(60), draw(60), {"classes": 2, "shape": (1, 6, 6)})


@metric("margin", track="classification", mode="max")
def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean difference between the logit of the label and the largest other one."""
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).max(1, keepdim=True).values
    return (own - others).mean()
