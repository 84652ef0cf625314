"""Encoders of two views, and the critic between them."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Architecture = Literal["convolutional", "dense"]
CriticName = Literal["dot", "bilinear"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Embedded:
    """What a pair of encoders makes of views: f(x_i, y_j) is the inner product of row i of one and row j of the other.

    Attributes:
        x: φ(x) ``[A, d]``.
        y: ψ(y), for the bilinear critic W ψ(y) ``[B, d]``.
    """

    x: Tensor
    y: Tensor


class PairEncoder(nn.Module):
    """φ and ψ, of one architecture with parameters of their own, and a critic φ(x)ᵀ ψ(y), or φ(x)ᵀ W ψ(y)."""

    def __init__(
        self, architecture: Architecture, shape: Shape, channels: int, hidden: int, outputs: int, critic: CriticName
    ) -> None:
        super().__init__()
        self.x_encoder, self.y_encoder = (encoder(architecture, shape, channels, hidden, outputs) for _ in range(2))
        self.matrix = nn.Parameter(torch.eye(outputs)) if critic == "bilinear" else None

    def forward(self, x: Tensor, y: Tensor) -> Embedded:
        """Views ``[A, C, H, W]`` and ``[B, C, H, W]``."""
        b = self.y_encoder(y)
        return Embedded(self.x_encoder(x), b if self.matrix is None else b @ self.matrix.T)


def encoder(architecture: Architecture, shape: Shape, channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """Images ``[B, C, H, W]`` to ``[B, outputs]``, without normalization, which would tie a batch's rows together.

    Two convolutions that halve the image, then a dense layer; or two dense layers.
    """
    if architecture == "dense":
        body = [nn.Flatten(), nn.Linear(math.prod(shape), hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    else:
        height, width = (math.ceil(side / 4) for side in shape[1:])
        body = [
            nn.Conv2d(shape[0], channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * channels * height * width, hidden),
            nn.ReLU(),
        ]
    return nn.Sequential(*body, nn.Linear(hidden, outputs))
