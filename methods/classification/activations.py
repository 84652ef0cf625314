"""Activation functions of hidden layers, as modules."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

Activation = Literal["relu", "gelu", "prelu", "tanh", "softplus", "elu", "swish", "abs", "srelu", "centred_softplus"]


class Absolute(nn.Module):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        return x.abs()


class ShapedReLU(nn.Module):
    """min(relu(x), a) + b max(x - a, 0) with learned a, at first 5, and b, at first 1, as in adaptive estimators' code."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(5.0))
        self.slope = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        return torch.minimum(x.relu(), self.threshold) + self.slope * (x - self.threshold).relu()


class CentredSoftplus(nn.Module):
    """log(1 + eˣ) - log 2, which is 0 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        return softplus(x) - math.log(2)


ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "prelu": nn.PReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "swish": nn.SiLU,
    "abs": Absolute,
    "srelu": ShapedReLU,
    "centred_softplus": CentredSoftplus,
}
