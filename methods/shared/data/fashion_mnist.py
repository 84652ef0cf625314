"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747), from its original gzip-compressed IDX files."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.public_images import image_data

FOLDER = "fashion_mnist"
VALIDATION = 5_000
CLASSES = 10
# Training images and labels, test images and labels.
SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))


@dataset(
    FOLDER, help="articles of fashion, 28x28 grey, 10 classes: 55,000 / 5,000 / 10,000 images, from IDX files", folder=FOLDER
)
def fashion_mnist() -> Data:
    """Images ``[N, 1, 28, 28]`` in [0, 1], stratified by class; the test split is the original one."""
    images, labels, test_images, test_labels = read_mnist_files(FOLDER)
    train, test = (images[:, None], labels), (test_images[:, None], test_labels)
    return image_data(FOLDER, train, test, validation=VALIDATION, classes=CLASSES)


def read_mnist_files(folder: str) -> list[np.ndarray]:
    """Training images and labels, test images and labels, of a set that is kept as MNIST is."""
    paths = require(
        folder,
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    return [read_idx(path, shape) for path, shape in zip(paths, SHAPES, strict=True)]


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The unsigned bytes of a gzip-compressed IDX file.

    The format: a magic number, 0x0800 + the number of dimensions, then the size of each dimension (all of these big-endian,
    32 bits), then the bytes.

    Args:
        path: the file.
        shape: what its array must have: ``(N, 28, 28)`` for images, ``(N,)`` for labels.

    Raises:
        DataError: it cannot be decompressed, is of another kind or shape, or ends too early or too late.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    magic, expected = int.from_bytes(content[:4], "big"), 0x0800 + len(shape)
    if magic != expected:
        raise DataError(f"{path} is no IDX file of {len(shape)}-dimensional bytes: its magic number is {magic}, not {expected}")
    start = 4 * (1 + len(shape))
    found = tuple(int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4))
    if found != shape:
        raise DataError(f"{path} holds an array of shape {found}, not {shape}")
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path} is damaged, copy it again: it holds {len(content) - start} bytes of an array of shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
