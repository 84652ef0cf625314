"""Multiplicative noise masks: a coarse grid of numbers in (0, 1), enlarged to the image's size and blurred."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from regbench.methods.errors import ConfigError


def enlarge(grid: Tensor, size: Sequence[int]) -> Tensor:
    """Repeats the cells of square grids ``[B, G, G]`` (nearest neighbour), to masks ``[B, 1, H, W]``.

    Raises:
        ConfigError: the grid is finer than the image.
    """
    if grid.shape[1] > min(size):
        raise ConfigError(f"grid_size {grid.shape[1]} is finer than images of {size[0]} x {size[1]} pixels: lower it")
    return interpolate(grid[:, None], size, mode="nearest")


def blur(mask: Tensor, kernel: int, sigma: float | Tensor) -> Tensor:
    """Convolves masks ``[B, 1, H, W]`` with a Gaussian, truncated to ``kernel`` pixels and renormalized; reflects at borders.

    Args:
        mask: to be blurred.
        kernel: odd number of pixels; 1 leaves the mask alone.
        sigma: standard deviation in pixels, > 0.

    Raises:
        ConfigError: the kernel is wider than what can be reflected.
    """
    reach = kernel // 2
    if reach >= min(mask.shape[2:]):
        raise ConfigError(f"blur_kernel {kernel} is too wide for images of {mask.shape[2]} x {mask.shape[3]} pixels: lower it")
    offsets = torch.arange(-reach, reach + 1, dtype=mask.dtype, device=mask.device)
    taps = torch.exp(-0.5 * (offsets / sigma).square())
    taps = taps / taps.sum()
    rows = conv2d(pad(mask, (reach, reach, reach, reach), mode="reflect"), taps.view(1, 1, -1, 1))
    return conv2d(rows, taps.view(1, 1, 1, -1))


def apply(x: Tensor, mask: Tensor, strength: float | Tensor) -> Tensor:
    """The product x ⊙ ((1 - λ) + λ mask) of images ``[B, C, H, W]`` with masks ``[B, 1, H, W]``, λ the strength."""
    return x * (1 - strength + strength * mask)
