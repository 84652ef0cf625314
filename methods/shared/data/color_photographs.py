"""Photographs in colour, bytes; images of several sizes are padded to one, and say their own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.div2k import FOLDER, test_images, training_images, validation_images
from regbench.methods.shared.data.photographs import dealt, of_one_size, photograph, planes

SIDE = 192
# Of scikit-image and scikit-learn, in the order in which split 0 takes them: 5 to train, 2 to validate, 2 to test.
BUNDLED = (
    "astronaut",
    "coffee",
    "rocket",
    "stereo_motorcycle",
    "china.jpg",
    "flower.jpg",
    "retina",
    "chelsea",
    "hubble_deep_field",
)
COUNTS = (5, 2, 2)

# Of DIV2K's training images the last ones validate.
VALIDATION = 20


@dataset("color_photographs", help="scikit-image's and scikit-learn's photographs, 192x192 RGB: 5 / 2 / 2 images")
def color_photographs(split: int = 0) -> Data:
    """Images ``[N, 3, 192, 192]``, bytes, and their sizes ``[N, 2]``: central squares, resized with anti-aliasing."""
    counts = dict(zip(("train", "validation", "test"), COUNTS, strict=True))
    parts = dealt([_bundled(name) for name in BUNDLED], counts, split)
    splits = {part: padded(images) for part, images in parts.items()}
    return Data("color_photographs", **splits, meta={"shape": (3, SIDE, SIDE)}, pool=len(BUNDLED))


@dataset("div2k", help="DIV2K, RGB, 2,040 pixels wide or high: 780 / 20 images, its 100 validation images test", folder=FOLDER)
def div2k() -> Data:
    """Its training images to learn from and to validate with, its validation images to test."""
    return _div2k("div2k", validation_images())


@dataset("div2k_set5", help="DIV2K to train and validate with, Set5 to test: 780 / 20 / 5 images", folder=FOLDER)
def div2k_set5() -> Data:
    """DIV2K's training images, and Set5 to test."""
    return _div2k("div2k_set5", test_images("set5"))


def _div2k(name: str, tested: Sequence[Path]) -> Data:
    learned = training_images()
    learning, validating, judging = (
        padded([read_colors(path) for path in part]) for part in (learned[:-VALIDATION], learned[-VALIDATION:], tested)
    )
    return Data(name, learning, validating, judging, meta={"shape": tuple(learning.tensors[0].shape[1:])})


def read_colors(path: Path) -> np.ndarray:
    """The bytes ``[H, W, 3]`` of an image file.

    Raises:
        DataError: it cannot be read, or has other than three colours of a byte.
    """
    from skimage.io import imread

    try:
        image = imread(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"{path} holds an array of shape {image.shape} and type {image.dtype}, not bytes in three colours")
    return image


def padded(images: Sequence[np.ndarray]) -> TensorDataset:
    """Images ``[H, W, 3]`` as bytes ``[N, 3, H, W]`` of the largest height and width, 0 beyond, and their sizes ``[N, 2]``."""
    return TensorDataset(*of_one_size([planes(image) for image in images]))


def _bundled(name: str) -> np.ndarray:
    """The middle square of a photograph that comes with a library, bytes ``[SIDE, SIDE, 3]``."""
    from skimage.transform import resize

    image = photograph(name)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = resize(image[top : top + side, left : left + side], (SIDE, SIDE), anti_aliasing=True)
    return (255 * square).round().astype(np.uint8)
