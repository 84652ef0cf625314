"""Images in files, one by one: decoded when they are asked for, so that a folder may be larger than memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.loading import eight_bits, is_grey, pixels

ORIENTATION = 0x0112
# Values of a camera's note that say that the image lies on its side.
SIDEWAYS = (5, 6, 7, 8)


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Images below a folder, with their classes where these are known: rows (bytes ``[C, H, W]``, class).

    Args:
        root: the folder.
        names: the files' paths seen from there, encoded ``[N]``.
        size: height and width to resize to; None: all have one.
        shape: of every image ``[C, H, W]``, once it is known.
        targets: the classes ``[N]``, int64, once they are known.
    """

    def __init__(
        self,
        root: Path,
        names: np.ndarray,
        size: tuple[int, int] | None,
        shape: tuple[int, int, int] = (0, 0, 0),
        targets: Tensor | None = None,
    ) -> None:
        self.root, self.size, self.image_shape = root, size, shape
        self._names = names
        self.targets = targets

    def __len__(self) -> int:
        return len(self._names)

    @property
    def shape(self) -> tuple[int, ...]:
        """``[N, C, H, W]``."""
        return (len(self), *self.image_shape)

    def name(self, row: int) -> str:
        """How messages call an image: its path below the folder."""
        return os.fsdecode(self._names[row])

    def part(self, rows: np.ndarray, targets: np.ndarray) -> Self:
        """Some of the images, with their classes."""
        return type(self)(self.root, self._names[rows], self.size, self.image_shape, torch.from_numpy(targets))

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        name = self.name(row)
        image = decode(self.root / name, name, self.size)
        require_size(name, image.shape[:2], self.image_shape[1:])
        # A grey image among coloured ones is repeated in their channels.
        channels = np.broadcast_to(image.transpose(2, 0, 1), self.image_shape)
        assert self.targets is not None
        return torch.from_numpy(channels.copy()), int(self.targets[row])

    def header(self, row: int) -> tuple[int, int, int]:
        """Channels, height and width that an image will have, by what stands at the beginning of its file.

        Raises:
            DataError: it cannot be read.
        """
        from PIL import Image

        name = self.name(row)
        try:
            with Image.open(self.root / name) as image:
                channels, (width, height) = 1 if is_grey(image.mode) else 3, image.size
                # Of a PNG file without a note at its beginning, all would be read to find one.
                if image.format != "PNG" or "exif" in image.info:
                    width, height = (height, width) if image.getexif().get(ORIENTATION) in SIDEWAYS else (width, height)
        except Exception as error:  # Decoders of damaged files raise what they like.
            raise unreadable(name, error) from None
        return (channels, *(self.size or (height, width)))

    def looked_at(self) -> Self:
        """The same with the shape known that all have, C being 1 where all are grey.

        Raises:
            DataError: the beginning of a file cannot be read, or an image has a size of its own.
        """
        channels, *first = self.header(0)
        for row in range(1, len(self)):
            more, *size = self.header(row)
            require_size(self.name(row), size, first)
            channels = max(channels, more)
        return type(self)(self.root, self._names, self.size, (channels, first[0], first[1]), self.targets)


def require_size(name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuses an image whose height and width are not those of the others.

    Raises:
        DataError: names it.
    """
    if tuple(found) != tuple(wanted):
        raise DataError(
            f"{name} is {found[0]} x {found[1]} pixels, others are {wanted[0]} x {wanted[1]}: give "
            f"`size: [{wanted[0]}, {wanted[1]}]` to resize all"
        )


def unreadable(name: str, error: Exception) -> DataError:
    """The error of a file that cannot be read."""
    return DataError(f"{name} is no image that can be read: {one_line(error)}")


def decode(source: Path | IO[bytes], name: str, size: tuple[int, int] | None) -> np.ndarray:
    """An image as bytes ``[H, W, 1]`` or ``[H, W, 3]``, upright as a camera's note says; transparency is left out.

    Raises:
        DataError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as opened:
            image = eight_bits(ImageOps.exif_transpose(opened))
            if size is not None:
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return pixels(image)
    except Exception as error:  # Decoders of damaged files raise what they like.
        raise unreadable(name, error) from None
