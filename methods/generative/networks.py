"""A small DCGAN: generator and discriminator of the generative track."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Generator(nn.Sequential):
    """Latent vectors ``[B, Z]`` to images ``[B, C, 8, 8]`` in [-1, 1]: two transposed convolutions with batch normalization."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__(
            nn.Linear(latent, 64 * 2 * 2, bias=False),
            nn.Unflatten(1, (64, 2, 2)),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )


class Discriminator(nn.Module):
    """Images ``[B, C, 8, 8]`` to codes ``[B, m]``: two strided convolutions and a linear head, all spectrally normalized.

    Args:
        channels: of the images.
        code_dim: m, the size of a code; its mean is the realness.
        stochastic: whether codes are drawn, v = μ(x) + exp(½ log σ²(x)) ⊙ ξ, with μ and log σ² from one orthogonally
            initialized layer without bias, as in MaEM-GAN's released code.
    """

    def __init__(self, channels: int, code_dim: int, *, stochastic: bool) -> None:
        super().__init__()
        self.stochastic = stochastic
        self.body = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, 32, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(32, 64, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        head = nn.Linear(64 * 2 * 2, 2 * code_dim if stochastic else code_dim, bias=False)
        nn.init.orthogonal_(head.weight)
        self.head = spectral_norm(head)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Codes of images, with the head's noise ξ ``[B, m]`` given from outside (unused by a deterministic head)."""
        code = self.head(self.body(x))
        if not self.stochastic:
            return code
        mean, log_variance = code.chunk(2, dim=1)
        return mean + torch.exp(0.5 * log_variance) * noise
