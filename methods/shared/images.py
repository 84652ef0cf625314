"""Images as numbers."""

import torch
from torch import Tensor

# Of the luminance Y of ITU-R BT.601 in [16, 235] of 255.
LUMINANCE = (65.481, 128.553, 24.966)


def unit(images: Tensor) -> Tensor:
    """Images in [0, 1]: bytes are divided by 255, numbers are left."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def luminance(images: Tensor) -> Tensor:
    """Y of ITU-R BT.601, ``[N, 1, H, W]`` in [16/255, 235/255], of colours ``[N, 3, H, W]`` in [0, 1]."""
    weights = torch.tensor(LUMINANCE, dtype=images.dtype, device=images.device)
    return (torch.einsum("nchw,c->nhw", images, weights)[:, None] + 16) / 255


def squares(images: Tensor, rows: Tensor, corners: Tensor, side: int) -> Tensor:
    """A square of each of some images, ``[B, C, side, side]``.

    Args:
        images: ``[N, C, H, W]``.
        rows: which images ``[B]``, int64.
        corners: the upper left corners, down and across ``[B, 2]``, int64.
        side: of the squares.
    """
    reach = torch.arange(side, device=images.device)
    down, across = (corners[:, axis, None] + reach for axis in (0, 1))
    # Indices around a slice put the channels last.
    return images[rows[:, None, None], :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)
