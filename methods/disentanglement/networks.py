"""Encoders and decoders: dense ones for small images, and QLAE's convolutional encoder and style decoder, as released."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regbench.methods.disentanglement.latents import Latents
from regbench.methods.errors import ConfigError

Architecture = Literal["dense", "convolutional"]
Shape = tuple[int, ...]

SLOPE = 0.2
# Of an instance normalization, and what a style decoder's learned map is at the start.
EPS, MAP_VALUE = 1e-6, 0.1


@dataclass(frozen=True)
class Reconstruction:
    """What an autoencoder makes of images: logits of their pixels ``[B, C, H, W]``, and the latents in between."""

    logits: Tensor
    latents: Latents


@dataclass(frozen=True)
class Size:
    """How large networks are.

    Attributes:
        hidden: width of dense layers.
        channels: of the first group of convolutions; each further group has twice as many.
        groups: of convolutions, each of which halves the image.
        depth: convolutions in a group.
    """

    hidden: int
    channels: int
    groups: int
    depth: int


class Autoencoder(nn.Module):
    """Encoder, latent, decoder."""

    latent: Any

    def __init__(self, architecture: Architecture, shape: Shape, latent: Any, size: Size) -> None:
        super().__init__()
        self.encoder = encoder(architecture, shape, latent.inputs, size)
        self.latent = latent
        self.decoder = decoder(architecture, shape, latent.outputs, size)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """Images ``[B, C, H, W]``, and noise ``[B, n_z]`` for latents that are drawn."""
        # In mixed precision the encoder's output is rounded; latents are computed in the precision of the images.
        latents = self.latent(self.encoder(x).to(x.dtype), noise)
        return Reconstruction(self.decoder(latents.z), latents)


class Encoder(nn.Sequential):
    """``body``, which makes features of images, and a linear ``head``."""

    def __init__(self, body: nn.Module, features: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(features, outputs)


def encoder(architecture: Architecture, shape: Shape, outputs: int, size: Size) -> Encoder:
    """Images ``[B, C, H, W]`` to ``[B, outputs]``.

    Raises:
        ConfigError: the architecture takes no images of that shape.
    """
    if architecture == "dense":
        body = nn.Sequential(nn.Flatten(), *dense(math.prod(shape), size.hidden, size.hidden))
        return Encoder(body, size.hidden, outputs)
    core = _core(shape, size)
    layers: list[nn.Module] = []
    for before, after in pairwise((shape[0], *_widths(size))):
        for place in range(size.depth):
            last = place == size.depth - 1
            kernel, stride = (4, 2) if last else (3, 1)
            convolution = nn.Conv2d(before if place == 0 else after, after, kernel, stride, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(after, after, eps=EPS), nn.LeakyReLU(SLOPE)]
    flat = _widths(size)[-1] * math.prod(core)
    return Encoder(nn.Sequential(*layers, nn.Flatten(), *dense(flat, size.hidden, size.hidden)), size.hidden, outputs)


def decoder(architecture: Architecture, shape: Shape, inputs: int, size: Size) -> nn.Module:
    """Latents ``[B, inputs]`` to logits of pixels ``[B, C, H, W]``.

    Raises:
        ConfigError: the architecture makes no images of that shape.
    """
    if architecture == "dense":
        layers = dense(inputs, size.hidden, size.hidden)
        return nn.Sequential(*layers, nn.Linear(size.hidden, math.prod(shape)), nn.Unflatten(1, shape))
    return StyleDecoder(shape, inputs, size)


def dense(inputs: int, *widths: int) -> list[nn.Module]:
    """Linear layers, each followed by ReLU."""
    return [layer for before, after in pairwise((inputs, *widths)) for layer in (nn.Linear(before, after), nn.ReLU())]


class StyleBlock(nn.Module):
    """A transposed convolution without bias, leaky ReLU and instance normalization, then a scale and a shift from the style.

    Both come from one linear layer and ReLU, as released.
    """

    def __init__(self, before: int, after: int, style: int, *, double: bool) -> None:
        super().__init__()
        kernel, stride = (4, 2) if double else (3, 1)
        self.convolution = nn.ConvTranspose2d(before, after, kernel, stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(after, after, eps=EPS, affine=False)
        self.conditioning = nn.Sequential(*dense(style, 2 * after))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """``[B, before, H, W]`` and ``[B, style]`` to ``[B, after, H, W]``, or twice that size."""
        scale, shift = self.conditioning(style)[:, :, None, None].chunk(2, 1)
        return self.norm(nn.functional.leaky_relu(self.convolution(x), SLOPE)) * scale + shift


class StyleDecoder(nn.Module):
    """A learned map, the same for all images, which blocks of transposed convolutions turn into one as a style tells them.

    The style is two dense layers of the latents; the blocks mirror the encoder's convolutions.
    """

    def __init__(self, shape: Shape, inputs: int, size: Size) -> None:
        super().__init__()
        widths = _widths(size)[::-1]
        self.map = nn.Parameter(torch.full((widths[0], *_core(shape, size)), MAP_VALUE))
        self.style = nn.Sequential(*dense(inputs, size.hidden, size.hidden))
        self.blocks = nn.ModuleList(
            StyleBlock(before if place == 0 else after, after, size.hidden, double=place == size.depth - 1)
            for before, after in pairwise((widths[0], *widths))
            for place in range(size.depth)
        )
        self.last = nn.Conv2d(widths[-1], shape[0], 3, padding=1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[B, D]`` to logits ``[B, C, H, W]``."""
        style = self.style(z)
        x = self.map.expand(len(z), -1, -1, -1)
        for block in self.blocks:
            x = block(x, style)
        return self.last(x)


def _widths(size: Size) -> tuple[int, ...]:
    """Channels of the groups, from the image inwards."""
    return tuple(size.channels * 2**group for group in range(size.groups))


def _core(shape: Shape, size: Size) -> tuple[int, int]:
    """Height and width inside."""
    height, width = shape[1:]
    factor = 2**size.groups
    if height % factor or width % factor:
        raise ConfigError(
            f"{size.groups} groups halve images that often, but {height} x {width} is no multiple of {factor}: set fewer groups"
        )
    return height // factor, width // factor
