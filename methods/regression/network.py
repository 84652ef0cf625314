"""An encoder, a bottleneck and a decoder."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Encoding(NamedTuple):
    """What a bottleneck network gives for a batch.

    Attributes:
        prediction: ``[B]``.
        t: the bottleneck's code ``[B, K]``, with noise where it was given some.
        mean: the code without noise ``[B, K]``.
        log_variance: of the noise ``[B, K]``; None where it is not learned.
    """

    prediction: Tensor
    t: Tensor
    mean: Tensor
    log_variance: Tensor | None


def perceptron(features: int, layers: int, width: int) -> nn.Sequential:
    """So many ReLU layers on inputs of that length."""
    sizes = [features] + (layers - 1) * [width]
    return nn.Sequential(*(nn.Sequential(nn.Linear(size, width), nn.ReLU()) for size in sizes))


class Bottleneck(nn.Module):
    """x → encoder → t, linear, of width K → one ReLU layer → ŷ.

    Args:
        encoder: inputs to features ``[B, width]``.
        width: of the encoder's features and of the decoder's layer.
        bottleneck_dim: K.
        learned_noise: whether a second linear layer beside that of t gives the logarithm of the noise's variance.
    """

    def __init__(self, encoder: nn.Module, width: int, bottleneck_dim: int, learned_noise: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.mean = nn.Linear(width, bottleneck_dim)
        self.log_variance = nn.Linear(width, bottleneck_dim) if learned_noise else None
        self.decoder = nn.Sequential(nn.Linear(bottleneck_dim, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Encoding:
        """Encodes and decodes ``x [B, d]``; ``noise [B, K]`` is standard normal, scaled by exp(log_variance / 2) or by 1."""
        h = self.encoder(x)
        t = mean = self.mean(h)
        log_variance = self.log_variance(h) if self.log_variance is not None and noise is not None else None
        if noise is not None:
            t = mean + noise * (1.0 if log_variance is None else torch.exp(log_variance / 2))
        return Encoding(self.decoder(t), t, mean, log_variance)
