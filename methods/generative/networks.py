"""Generators and discriminators of the generative track: DCGANs (Radford et al., ICLR 2016), small ones for 8 x 8 images."""

from typing import Literal

from torch import Tensor, exp, nn
from torch.nn.utils.parametrizations import spectral_norm

from regbench.methods.errors import ConfigError

Architecture = Literal["small", "dcgan"]
Shape = tuple[int, ...]

# Side of the images of the small networks, channels of their convolutions from the image inwards.
SMALL_SIDE, SMALL = 8, (32, 64)
# Channels of a DCGAN next to the image, as in MaEM-GAN's released code; they double inwards, down to 4 x 4 pixels.
DCGAN_WIDTH, DCGAN_CORE = 128, 4
# Standard deviation of a DCGAN's weights at the start.
DEVIATION = 0.02


def generator(architecture: Architecture, latent: int, shape: Shape) -> nn.Sequential:
    """Latent vectors ``[B, Z]`` to images ``[B, C, H, W]`` in [-1, 1]: transposed convolutions with batch normalization.

    Raises:
        ConfigError: the architecture makes no images of that shape.
    """
    widths = _widths(architecture, shape)
    core = shape[1] // 2 ** len(widths)
    # From one pixel, a transposed convolution is a linear layer.
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[-1] * core * core, bias=False),
        nn.Unflatten(1, (widths[-1], core, core)),
    ]
    layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU()]
    for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    last = nn.ConvTranspose2d(widths[0], shape[0], 4, stride=2, padding=1, bias=architecture == "small")
    network = nn.Sequential(*layers, last, nn.Tanh())
    if architecture == "dcgan":
        for layer in network:
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0.0, DEVIATION)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0, DEVIATION)
    return network


class Discriminator(nn.Module):
    """Images ``[B, C, H, W]`` to codes ``[B, m]``: strided convolutions and a linear head, all spectrally normalized.

    Args:
        architecture: which convolutions.
        shape: of an image.
        code_dim: m, the size of a code; its mean is the realness.
        stochastic: whether codes are drawn, v = μ(x) + exp(½ log σ²(x)) ⊙ ξ, with μ and log σ² from one orthogonally
            initialized layer without bias, as in MaEM-GAN's released code.

    Raises:
        ConfigError: the architecture takes no images of that shape.
    """

    def __init__(self, architecture: Architecture, shape: Shape, code_dim: int, *, stochastic: bool) -> None:
        super().__init__()
        self.stochastic = stochastic
        widths = _widths(architecture, shape)
        layers: list[nn.Module] = []
        for before, after in zip((shape[0], *widths), widths, strict=False):
            convolution = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=architecture == "small")
            if architecture == "dcgan":
                nn.init.normal_(convolution.weight, 0.0, DEVIATION)
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        core = shape[1] // 2 ** len(widths)
        head = nn.Linear(widths[-1] * core * core, 2 * code_dim if stochastic else code_dim, bias=False)
        nn.init.orthogonal_(head.weight)
        self.head = spectral_norm(head)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Codes of images, with the head's noise ξ ``[B, m]`` given from outside (unused by a deterministic head)."""
        code = self.head(self.body(x))
        if not self.stochastic:
            return code
        mean, log_variance = code.chunk(2, dim=1)
        return mean + exp(0.5 * log_variance) * noise


def _widths(architecture: Architecture, shape: Shape) -> tuple[int, ...]:
    """Channels after each halving of the image, from the image inwards."""
    height, width = shape[1:]
    if architecture == "small":
        if (height, width) != (SMALL_SIDE, SMALL_SIDE):
            raise ConfigError(f"architecture small is for images of 8 x 8, not {height} x {width}; use dcgan")
        return SMALL
    halvings = (height // DCGAN_CORE).bit_length() - 1
    if height != width or height != DCGAN_CORE * 2**halvings or halvings < 2:
        raise ConfigError(
            f"architecture dcgan is for squares of 16, 32, 64, … pixels, not {height} x {width}; use small for 8 x 8"
        )
    return tuple(DCGAN_WIDTH * 2**level for level in range(halvings))
