"""Gaussian smoothing of classifiers that each see one part of an image: parts, noise on them, and votes under noise."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, one_hot

from regbench.methods.errors import ConfigError

Partition = Literal["checkerboard", "whole"]
Fill = Literal["repeat", "block_maximum", "none"]

# Numbers in the inputs of one forward pass of an estimate.
PASS = 2**22

Parts = Callable[[Tensor], Tensor]
"""Parts of images ``[P, B, C, H, W]`` to logits ``[P, B, K]``: classifier p sees part p only."""


def partition_masks(partition: Partition, shape: tuple[int, ...]) -> Tensor:
    """Disjoint masks ``[P, H, W]`` of zeros and ones that cover an image: one of all pixels, or the two of a checkerboard.

    Args:
        partition: which.
        shape: ``(C, H, W)`` of an image.

    Raises:
        ConfigError: a checkerboard's halves would differ in size, or have no pixel pairs.
    """
    if len(shape) != 3:
        raise ConfigError(f"smoothing needs images, not inputs of shape {shape}: choose another data set")
    height, width = shape[1:]
    if partition == "whole":
        return torch.ones(1, height, width)
    if height % 2 or width % 2:
        raise ConfigError(f"a checkerboard needs images of even height and width, not {height} x {width}")
    left = (torch.arange(height)[:, None] + torch.arange(width) + 1) % 2
    return torch.stack([left, 1 - left]).float()


def noisy_parts(x: Tensor, noise: Tensor, masks: Tensor, sigma: float, fill: Fill) -> Tensor:
    """The parts M ⊙ (x + σ ε) of noisy images, ``[P, B, C, H, W]``, and what then fills them (eq. T1).

    Args:
        x: images ``[B, C, H, W]``.
        noise: ε, of the shape of ``x``.
        masks: M ``[P, H, W]``.
        sigma: σ.
        fill: made of a part's own noisy pixels alone, so that a part depends on no other pixel: its pixel of each horizontal
            pair at both places (``repeat``); the maximum of its 2 x 2 block, with 0 in the place of other pixels, added to each
            of its pixels (``block_maximum``); or nothing, which leaves 0 elsewhere. One part of all pixels is not filled.
    """
    parts = masks[:, None, None] * (x + sigma * noise)  # [P, B, C, H, W]
    if len(masks) == 1 or fill == "none":
        return parts
    if fill == "repeat":
        return parts.unflatten(-1, (-1, 2)).sum(-1).repeat_interleave(2, dim=-1)
    blocks = max_pool2d(parts.flatten(0, 2), 2)[:, None]  # [P B C, 1, H / 2, W / 2]
    return parts + masks[:, None, None] * interpolate(blocks, scale_factor=2, mode="nearest").view_as(parts)


def votes(
    classify: Parts,
    x: Tensor,
    masks: Tensor,
    sigma: float,
    fill: Fill,
    *,
    samples: int,
    classes: int,
    generator: torch.Generator,
) -> Tensor:
    """How often each part's classifier names each class under noise: counts ``[P, N, K]``, int64, of sum ``samples``.

    Args:
        classify: the parts' classifiers, in evaluation mode.
        x: images ``[N, C, H, W]``.
        masks: ``[P, H, W]``.
        sigma: of the noise.
        fill: see ``noisy_parts``.
        samples: noise draws for each image and part.
        classes: K.
        generator: draws the noise, on the device of ``x``.
    """
    room = max(1, PASS // (len(masks) * math.prod(x.shape[1:])))  # images, repeated ones counted
    found = []
    with torch.no_grad():
        for images in x.split(room):
            counts = torch.zeros(len(masks), len(images), classes, dtype=torch.int64, device=x.device)
            done = 0
            while done < samples:
                draws = min(samples - done, room // len(images))
                many = images.repeat(draws, 1, 1, 1)  # [draws N, C, H, W]
                noise = torch.randn(many.shape, dtype=x.dtype, device=x.device, generator=generator)
                named = classify(noisy_parts(many, noise, masks, sigma, fill)).argmax(2).unflatten(1, (draws, -1))
                counts += one_hot(named, classes).sum(1)
                done += draws
            found.append(counts)
    return torch.cat(found, dim=1)
