"""STL-10 (Coates, Ng, Lee, 2011), labelled images, from the files of its binary version."""

from pathlib import Path

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.public_images import image_data

FOLDER = "stl10_binary"
SHAPE = (3, 96, 96)
VALIDATION = 500
CLASSES = 10
TRAIN, TEST = 5_000, 8_000


@dataset("stl10", help="photographs, 96x96 RGB, 10 classes: 4,500 / 500 / 8,000 images, from the binary version", folder=FOLDER)
def stl10() -> Data:
    """Images ``[N, 3, 96, 96]`` in [0, 1], stratified by class; the test split is the original one; without unlabelled ones."""
    paths = require(FOLDER, "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")
    train, test = read_stl10(*paths[:2], TRAIN), read_stl10(*paths[2:], TEST)
    return image_data("stl10", train, test, validation=VALIDATION, classes=CLASSES)


def read_stl10(images: Path, labels: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 3, 96, 96]`` and labels ``[N]`` from 0, bytes.

    The format: for each image its red, green and blue planes, each column by column; labels are bytes from 1 to 10.

    Args:
        images: the file of the images.
        labels: the file of their labels.
        count: how many images N they must hold.

    Raises:
        DataError: a file has another size, or holds another label.
    """
    pixels, numbers = np.fromfile(images, np.uint8), np.fromfile(labels, np.uint8)
    for path, content, row in ((images, pixels, SHAPE[0] * SHAPE[1] * SHAPE[2]), (labels, numbers, 1)):
        if len(content) != count * row:
            raise DataError(f"{path} is damaged, copy it again: {len(content)} bytes in place of {count} times {row}")
    if numbers.min() < 1 or numbers.max() > CLASSES:
        raise DataError(f"{labels} holds labels from {numbers.min()} to {numbers.max()}, but they go from 1 to {CLASSES}")
    return np.ascontiguousarray(pixels.reshape(count, *SHAPE).transpose(0, 1, 3, 2)), numbers - 1
