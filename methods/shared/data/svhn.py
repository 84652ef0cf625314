"""Street View House Numbers (Netzer et al., 2011), cropped digits, from the MATLAB files of its format 2."""

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.public_images import image_data

FOLDER = "svhn"
VALIDATION = 5_000
CLASSES = 10
TRAIN, TEST = 73_257, 26_032


@dataset(FOLDER, help="house numbers, 32x32 RGB, 10 classes: 68,257 / 5,000 / 26,032 images, from MATLAB files", folder=FOLDER)
def svhn() -> Data:
    """Images ``[N, 3, 32, 32]`` in [0, 1], stratified by class; the test split is the original one, extra images stay out."""
    paths = require(FOLDER, "train_32x32.mat", "test_32x32.mat")
    train, test = (read_svhn(path, count) for path, count in zip(paths, (TRAIN, TEST), strict=True))
    return image_data(FOLDER, train, test, validation=VALIDATION, classes=CLASSES)


def read_svhn(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 3, 32, 32]`` and labels ``[N]``, bytes, of one file.

    The format: ``X [32, 32, 3, N]`` of bytes, and ``y [N, 1]`` from 1 to 10, where 10 stands for the digit 0.

    Args:
        path: the file.
        count: how many images N it must hold.

    Raises:
        DataError: it is no such file, or holds other arrays.
    """
    try:
        content = loadmat(path)
        images, labels = content["X"], content["y"]
    except (OSError, ValueError, TypeError, NotImplementedError, LookupError, MatReadError) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    if images.shape != (32, 32, 3, count) or images.dtype != np.uint8 or labels.shape != (count, 1):
        raise DataError(f"{path} holds images {images.shape} of {images.dtype} and labels {labels.shape}, not {count} images")
    if labels.min() < 1 or labels.max() > CLASSES:
        raise DataError(f"{path} holds labels from {labels.min()} to {labels.max()}, but they go from 1 to {CLASSES}")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), (labels[:, 0] % CLASSES).astype(np.uint8)
