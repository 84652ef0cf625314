"""The usual augmentation of small photographs."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from regbench.methods.run import Run

Augmentation = Literal["none", "shift", "shift_and_flip"]
AUGMENTATION_HELP = "of training images: none, moved by up to 4 pixels, or moved and mirrored"

MARGIN = 4


def augment(x: Tensor, augmentation: Augmentation, run: Run) -> Tensor:
    """A mini-batch of training images ``[B, C, H, W]``, augmented by a random stream of its own."""
    if augmentation == "none":
        return x
    return shift(x, run.generator("augmentation", run.device), flip=augmentation == "shift_and_flip")


def shift(x: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    """Each image moved by up to ``MARGIN`` pixels in both directions, 0 beyond its border.

    Args:
        x: images ``[B, C, H, W]``.
        generator: draws moves and flips, on the device of ``x``.
        flip: whether half of the images are mirrored, too.
    """
    count, _, height, width = x.shape
    rows, columns = torch.randint(2 * MARGIN + 1, (2, count, 1), generator=generator, device=x.device)
    rows = rows + torch.arange(height, device=x.device)  # [B, H]
    columns = columns + torch.arange(width, device=x.device)  # [B, W]
    if flip:
        mirrored = torch.rand(count, 1, generator=generator, device=x.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(count, device=x.device)[:, None, None]
    # Indices around a slice put the channels last.
    return pad(x, (MARGIN,) * 4)[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
