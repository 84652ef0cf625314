"""Encoders and decoders of states, and the network that joins them by a linear operator."""

import itertools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from regbench.methods.dynamics.operators import ridge_operators

Architecture = Literal["mlp", "conv"]

CHANNELS = (16, 32, 64, 128, 256)
KERNELS = (7, 5, 3, 3, 3)
DROPOUT = 0.1


class Pass(NamedTuple):
    """What a Koopman autoencoder gives for windows of T + 1 states.

    Attributes:
        latents: z ``[B, T + 1, d]``; for a variational encoder, drawn.
        mean: of the latents; the latents themselves without a variational encoder.
        log_variance: of the latents, or None.
        operator: K ``[d, d]``, in the row convention.
        steps: z_t K of the first T latents ``[B, T, d]``.
        reconstructions: g(z) ``[B, T + 1, …]``.
        predictions: g(z_t K) of the first T latents ``[B, T, …]``.
        transition_log_variance: diagonal of log Σ_ψ ``[d]``, or None.
    """

    latents: Tensor
    mean: Tensor
    log_variance: Tensor | None
    operator: Tensor
    steps: Tensor
    reconstructions: Tensor
    predictions: Tensor
    transition_log_variance: Tensor | None


class KoopmanNetwork(nn.Module):
    """An encoder, a decoder, and an operator that is fitted to each batch or learned.

    Args:
        shape: of a state.
        latent: d.
        hidden: width of the hidden layer of ``mlp``.
        architecture: ``mlp``, or ``conv`` for frames with sides that are multiples of 16, as in the released code.
        operator: ``ridge``: the mean over windows of their ridge regressions, without gradient; ``parameter``: learned.
        ridge: of the regressions.
        variational: whether the encoder gives mean and variance of a normal distribution.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        hidden: int,
        architecture: Architecture,
        operator: Literal["ridge", "parameter"],
        ridge: float,
        variational: bool,
    ) -> None:
        super().__init__()
        self.latent, self.ridge = latent, ridge
        outputs = 2 * latent if variational else latent
        if architecture == "conv":
            self.encoder, self.decoder = conv_encoder(shape, outputs), conv_decoder(shape, latent)
        else:
            size = math.prod(shape)
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
            self.decoder = nn.Sequential(
                nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, size), nn.Unflatten(1, tuple(shape))
            )
        self.operator = nn.Parameter(torch.eye(latent)) if operator == "parameter" else None
        self.transition_log_variance = nn.Parameter(torch.zeros(latent)) if variational else None

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``[N, d]`` of states ``[N, …]``: the mean, for a variational encoder."""
        return self.encoder(x)[:, : self.latent]

    def forward(self, x: Tensor, noise: Tensor | None, average: Callable[[Tensor], Tensor]) -> Pass:
        """One pass through windows.

        Args:
            x: states ``[B, T + 1, …]``.
            noise: standard normal numbers ``[B, T + 1, d]`` for a variational encoder, otherwise None.
            average: the mean of a tensor over all workers.
        """
        outputs = self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        z = mean = outputs[..., : self.latent]
        log_variance = None
        if noise is not None:
            log_variance = outputs[..., self.latent :]
            z = mean + (0.5 * log_variance).exp() * noise
        if self.operator is None:
            with torch.no_grad():
                K = average(ridge_operators(z[:, :-1], z[:, 1:], self.ridge).mean(0))
        else:
            K = self.operator
        steps = z[:, :-1] @ K
        decoded = self.decoder(torch.cat([z, steps], dim=1).flatten(0, 1)).unflatten(0, (len(x), -1))
        reconstructions, predictions = decoded.split([z.shape[1], steps.shape[1]], dim=1)
        return Pass(z, mean, log_variance, K, steps, reconstructions, predictions, self.transition_log_variance)


def conv_encoder(shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Frames ``[N, C, H, W]`` to ``[N, outputs]``: five convolutions, four of them halving the sides, then a linear layer."""
    channels = (shape[0], *CHANNELS)
    layers: list[nn.Module] = []
    for number, kernel in enumerate(KERNELS):
        layers += [nn.Conv2d(channels[number], channels[number + 1], kernel, padding=kernel // 2)]
        layers += [nn.AvgPool2d(2), nn.ReLU()] if number < 4 else [nn.ReLU(), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * _area(shape), outputs))


def conv_decoder(shape: tuple[int, ...], latent: int) -> nn.Sequential:
    """The encoder's mirror image, latents ``[N, d]`` to frames ``[N, C, H, W]``, and three convolutions of single pixels."""
    channels = (shape[0], *CHANNELS)
    layers: list[nn.Module] = [nn.Linear(latent, CHANNELS[-1] * _area(shape)), nn.ReLU(), nn.Dropout(DROPOUT)]
    layers += [nn.Unflatten(1, (CHANNELS[-1], shape[1] // 16, shape[2] // 16))]
    for number in reversed(range(len(KERNELS))):
        kernel = KERNELS[number]
        layers += [nn.ConvTranspose2d(channels[number + 1], channels[number], kernel, padding=kernel // 2)]
        layers += [nn.ReLU(), nn.UpsamplingBilinear2d(scale_factor=2)] if number else []
    pixels = (shape[0], 64, 32, shape[0])
    for one, other in itertools.pairwise(pixels):
        layers += [nn.Conv2d(one, other, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _area(shape: tuple[int, ...]) -> int:
    return (shape[1] // 16) * (shape[2] // 16)
