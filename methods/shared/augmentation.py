"""The usual augmentation of small photographs, and views of images for contrastive learning."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

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


@dataclass(frozen=True)
class Views:
    """How a view of an image is drawn: rotated, scaled and moved at random, perhaps mirrored, with noise on its pixels.

    Attributes:
        rotation: largest angle in radians, either way.
        scale: largest relative change of size, below 1.
        shift: largest move in pixels, along either axis.
        noise: standard deviation of Gaussian noise.
        flip: whether half of the views are mirrored.
    """

    rotation: float = 0.25
    scale: float = 0.1
    shift: float = 2.0
    noise: float = 0.05
    flip: bool = False

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A view of each image ``[B, C, H, W]``, 0 beyond its border; bilinear between pixels.

        Args:
            x: images.
            generator: draws the views, on the device of ``x``.
        """
        count, _, height, width = x.shape
        angle, size, across, down = torch.rand(4, count, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1
        angle, size = self.rotation * angle, 1 + self.scale * size
        mirror = torch.ones_like(angle)
        if self.flip:
            mirror -= 2 * (torch.rand(count, generator=generator, device=x.device) < 0.5).to(x.dtype)
        cosine, sine = angle.cos() / size, angle.sin() / size
        # Where a pixel of the view is found in the image, in units of half its sides.
        rows = [
            [mirror * cosine, -mirror * sine * height / width, 2 * self.shift / width * across],
            [sine * width / height, cosine, 2 * self.shift / height * down],
        ]
        places = torch.stack([torch.stack(row, 1) for row in rows], 1)  # [B, 2, 3]
        grid = affine_grid(places, list(x.shape), align_corners=False)
        view = grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if self.noise:
            view = view + self.noise * torch.randn(view.shape, generator=generator, device=x.device, dtype=x.dtype)
        return view
