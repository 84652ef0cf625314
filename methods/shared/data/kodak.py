"""Kodak's photographs (24 lossless colour images of 768 x 512 pixels), grey, in the two sizes of MAID's experiments."""

from pathlib import Path

import numpy as np
from skimage.color import rgb2gray

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.noisy_images import central_square, divided, read_image

FOLDER = "image_restoration"
IMAGES = 24
# The pictures do not differ by number.
COUNTS = {"train": 16, "validation": 4, "test": 4}


@dataset("kodak_96", help="Kodak's photographs, grey, 96x96, noise 0.1: 16 / 4 / 4 pairs", folder=FOLDER)
def kodak_96(split: int = 0) -> Data:
    """Pairs ``[N, 1, 96, 96]``, the size of MAID's total variation."""
    return kodak_data("kodak_96", 96, split)


@dataset("kodak_256", help="Kodak's photographs, grey, 256x256, noise 0.1: 16 / 4 / 4 pairs", folder=FOLDER)
def kodak_256(split: int = 0) -> Data:
    """Pairs ``[N, 1, 256, 256]``, the size of MAID's fields of experts."""
    return kodak_data("kodak_256", 256, split)


def kodak_data(name: str, side: int, split: int = 0) -> Data:
    """Central squares of the photographs, resized to ``side`` pixels with anti-aliasing.

    Raises:
        DataError: a file is missing, damaged or no colour image.
    """
    paths = require(FOLDER, *(f"kodak24/kodim{number:02d}.png" for number in range(1, IMAGES + 1)))
    return divided(name, [square(path, side) for path in paths], COUNTS, split)


def square(path: Path, side: int) -> np.ndarray:
    """The middle of a colour photograph, grey in [0, 1], ``[side, side]``.

    Raises:
        DataError: it cannot be read, or is no colour image.
    """
    image = read_image(path)
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"{path} holds an image of shape {image.shape}, not one of three colours")
    return central_square(rgb2gray(image), side)
