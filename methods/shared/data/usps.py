"""USPS: 11,000 handwritten digits of envelopes, 16 x 16, from Roweis's MATLAB file ``usps_all.mat``.

The format: ``data [256, 1100, 10]`` of bytes, an image's pixels column by column, its number in its class, and its class: the
digits 1 to 9, then 0.
"""

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.clusters import clusters_data

FOLDER = "usps"
FILE = "usps_all.mat"
SIDE, CLASSES = 16, 10


@dataset("usps_clusters", help="handwritten digits of envelopes, 16x16: 11,000 images, from usps_all.mat", folder=FOLDER)
def usps_clusters(split: int = 0) -> Data:
    """Images ``[N, 1, 16, 16]`` in [-1, 1]."""
    (path,) = require(FOLDER, FILE)
    images, labels = read_usps(path)
    return clusters_data("usps_clusters", images[:, None] / np.float32(127.5) - 1, labels, split=split)


def read_usps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 16, 16]``, bytes, and digits ``[N]``, class after class.

    Raises:
        DataError: it is no such file.
    """
    try:
        data = loadmat(path)["data"]
    except (OSError, ValueError, TypeError, NotImplementedError, LookupError, MatReadError) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    if data.ndim != 3 or (data.shape[0], data.shape[2]) != (SIDE * SIDE, CLASSES) or data.dtype != np.uint8:
        raise DataError(f"{path} holds an array {data.shape} of {data.dtype}, not 256 x 1100 x 10 bytes")
    images = data.transpose(2, 1, 0).reshape(-1, SIDE, SIDE).transpose(0, 2, 1)
    return np.ascontiguousarray(images), (np.arange(CLASSES).repeat(data.shape[1]) + 1) % CLASSES
