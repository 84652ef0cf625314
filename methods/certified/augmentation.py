"""The usual augmentation of small photographs."""

import torch
from torch import Tensor
from torch.nn.functional import pad

MARGIN = 4


def shift_and_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``MARGIN`` pixels in both directions, black beyond its border, and mirrored half of the time.

    Args:
        x: images ``[B, C, H, W]``.
        generator: draws moves and flips, on the device of ``x``.
    """
    count, _, height, width = x.shape
    rows, columns = torch.randint(2 * MARGIN + 1, (2, count, 1), generator=generator, device=x.device)
    rows = rows + torch.arange(height, device=x.device)  # [B, H]
    columns = columns + torch.arange(width, device=x.device)  # [B, W]
    mirrored = torch.rand(count, 1, generator=generator, device=x.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(count, device=x.device)[:, None, None]
    # Indices around a slice put the channels last.
    return pad(x, (MARGIN,) * 4)[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
