"""Unnormalized models: networks that give h(x) = log p⁰(x), the logarithm of a density up to a constant."""

import itertools
import math
from typing import Literal

import torch
from torch import Tensor, nn

EnergyName = Literal["mlp", "conv", "gaussian_mean"]


class Unnormalized(nn.Module):
    """h(x) minus a learned constant c, where a method asks for one.

    Args:
        energy: ``mlp`` and ``conv``: h = log q + f, with f = 0 at first, so that training starts from the noise q, and mass
            cannot escape to where there are no data; ``gaussian_mean``: h = θᵀx - ‖x‖² / 2, the Gaussians of covariance I.
        shape: of a sample.
        width: of both hidden layers of ``mlp``; channels of the first layer of ``conv``.
        constant: whether c is learned, from 0.
    """

    def __init__(self, energy: EnergyName, shape: tuple[int, ...], width: int, constant: bool) -> None:
        super().__init__()
        self.size = math.prod(shape)
        self.theta = nn.Parameter(torch.zeros(self.size)) if energy == "gaussian_mean" else None
        self.constant = nn.Parameter(torch.zeros(())) if constant else None
        self.f = None
        if energy == "mlp":
            layers = [nn.Flatten(), nn.Linear(self.size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), _last(width)]
            self.f = nn.Sequential(*layers)
        elif energy == "conv":
            self.f = _convolutions(shape, width)

    def forward(self, x: Tensor, log_noise: Tensor) -> Tensor:
        """H - c ``[N]`` of samples ``x [N, …]`` with noise densities ``log_noise [N]``."""
        if self.f is None:
            assert self.theta is not None
            rows = x.flatten(1)
            h = rows @ self.theta - 0.5 * rows.square().sum(1)
        else:
            h = log_noise + self.f(x)[:, 0]
        return h if self.constant is None else h - self.constant

    def mean(self) -> Tensor:
        """θ ``[D]`` of ``gaussian_mean``, without gradient."""
        assert self.theta is not None
        return self.theta.detach()

    def log_normalizer(self) -> Tensor:
        """Log Z of ``gaussian_mean``, the only one that is known: D/2 log 2π + ‖θ‖² / 2."""
        assert self.theta is not None
        return 0.5 * self.size * math.log(2 * math.pi) + 0.5 * self.theta.square().sum()


def _last(width: int) -> nn.Linear:
    """No bias, because a constant in h means nothing; zero, so that training starts from the noise distribution."""
    layer = nn.Linear(width, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def _convolutions(shape: tuple[int, ...], width: int) -> nn.Sequential:
    """Images ``[N, C, H, W]`` to ``[N, 1]``: three convolutions that halve the sides, a mean over what is left."""
    channels = (shape[0], width, 2 * width, 4 * width)
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise(channels):
        layers += [nn.Conv2d(one, other, 4, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), _last(16 * width))
