"""DEPICT's convolutional autoencoder (Ghasedi Dizaji et al., ICCV 2017): a noisy pathway that learns to undo its noise."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import dropout, leaky_relu, mse_loss

from regbench.methods.errors import ConfigError

Architecture = Literal["paper", "small"]

# Kernel and padding of both convolutions, and of the transposed ones that lead back from them.
DOWN: dict[Architecture, tuple[tuple[int, int], ...]] = {"paper": ((4, 0), (5, 2)), "small": ((3, 1), (3, 1))}
UP: dict[Architecture, tuple[tuple[int, int], ...]] = {"paper": ((4, 0), (5, 2)), "small": ((4, 1), (4, 1))}
STRIDE = 2
LEAK = 0.01


@dataclass(frozen=True)
class Pathways:
    """What the autoencoder gives for B images; clean layers are those of the encoder without noise.

    Attributes:
        embedding: noisy ``[B, D]``, in (-1, 1).
        image: reconstruction of the images ``[B, C, H, W]``, in (-1, 1).
        first, second: reconstructions of the encoder's layers, each ``[B, F, h, w]``.
        clean_first, clean_second: these layers.
    """

    embedding: Tensor
    image: Tensor
    first: Tensor
    second: Tensor
    clean_first: Tensor
    clean_second: Tensor


class Encoder(nn.Module):
    """Images ``[B, C, H, W]`` through two convolutions of stride 2 with leaky ReLU, and a dense layer with tanh.

    Args:
        architecture: whose kernels.
        shape: of an image ``[C, H, W]``, sides of at least 6.
        channels: F of each convolution.
        embedding: D.
    """

    def __init__(self, architecture: Architecture, shape: tuple[int, ...], channels: int, embedding: int) -> None:
        super().__init__()
        # Sides of the image and of both layers.
        self.sizes = [tuple(shape[1:])]
        for kernel, padding in DOWN[architecture]:
            self.sizes.append(tuple((side + 2 * padding - kernel) // STRIDE + 1 for side in self.sizes[-1]))
        self.flat = channels * math.prod(self.sizes[-1])
        (kernel, padding), (inner_kernel, inner_padding) = DOWN[architecture]
        self.first = nn.Conv2d(shape[0], channels, kernel, STRIDE, padding)
        self.second = nn.Conv2d(channels, channels, inner_kernel, STRIDE, inner_padding)
        self.dense = nn.Linear(self.flat, embedding)

    def layers(self, x: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor]:
        """Both convolutions' outputs and the embedding ``[B, D]``, under dropout of the images and of the first output."""
        first = dropout(leaky_relu(self.first(dropout(x, noise)), LEAK), noise)
        second = leaky_relu(self.second(first), LEAK)
        return first, second, self.dense(second.flatten(1)).tanh()

    def forward(self, x: Tensor) -> Tensor:
        """Clean embeddings ``[B, D]``."""
        return self.layers(x, 0.0)[2]


class Autoencoder(nn.Module):
    """An encoder, and back from the noisy embedding: a dense layer and transposed convolutions with leaky ReLU, tanh at last.

    Weights start after Glorot, biases at 0.

    Args:
        architecture: whose kernels: ``paper``, for sides of at least 6, or ``small``, for multiples of 4.
        shape: of an image ``[C, H, W]``.
        channels: F of each convolution.
        embedding: D.
        noise: share of the inputs and of the first layer's outputs that is dropped in training.

    Raises:
        ConfigError: ``small`` does not lead back to images of this shape.
    """

    def __init__(self, architecture: Architecture, shape: tuple[int, ...], channels: int, embedding: int, noise: float) -> None:
        super().__init__()
        if architecture == "small" and (shape[1] % 4 or shape[2] % 4):
            raise ConfigError(f"architecture small is for sides that are multiples of 4, not {shape[1:]}: use paper")
        self.noise = noise
        self.encoder = Encoder(architecture, shape, channels, embedding)
        self.dense = nn.Linear(embedding, self.encoder.flat)
        (kernel, padding), (inner_kernel, inner_padding) = UP[architecture]
        self.second = nn.ConvTranspose2d(channels, channels, inner_kernel, STRIDE, inner_padding)
        self.first = nn.ConvTranspose2d(channels, shape[0], kernel, STRIDE, padding)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Pathways:
        """The noisy pathway, in evaluation without noise, and the clean layers."""
        _, _, embedding = self.encoder.layers(x, self.noise if self.training else 0.0)
        clean_first, clean_second, _ = self.encoder.layers(x, 0.0)
        second = leaky_relu(self.dense(embedding), LEAK).view_as(clean_second)
        first = leaky_relu(self.second(second, output_size=self.encoder.sizes[1]), LEAK)
        image = self.first(first, output_size=self.encoder.sizes[0]).tanh()
        return Pathways(embedding, image, first, second, clean_first, clean_second)


def reconstruction_loss(x: Tensor, found: Pathways, hidden_weight: float | Tensor) -> Tensor:
    """1/B Σ_i [‖x_i - x̂_i‖² / |x_i| + w_hid Σ_l ‖z_i^l - ẑ_i^l‖² / |z_i^l|] over both inner layers; a scalar.

    The decoder sees the noisy embedding; z^l are the clean layers, through which gradients flow too.

    Args:
        x: images ``[B, C, H, W]``.
        found: what the autoencoder gives for them.
        hidden_weight: w_hid, 1 in the paper, 0.1 in the released code.
    """
    hidden = mse_loss(found.first, found.clean_first) + mse_loss(found.second, found.clean_second)
    return mse_loss(found.image, x) + hidden_weight * hidden
