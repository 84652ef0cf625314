"""dSprites (Matthey et al., 2017): white shapes of known shape, scale, orientation and position, 64 x 64.

Read from the published file, or from a part of it: NumPy arrays ``imgs`` ``[N, 64, 64]``, uint8 of 0 and 1, and
``latents_classes`` ``[N, 5 or 6]``, whose first column, the colour, is white everywhere and may be missing.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require_form
from regbench.methods.shared.data.factors import factor_data

FOLDER = "dsprites"
PUBLISHED = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
PARTS = ("dsprites_grid.npz", "dsprites_random20k.npz")
SOURCES = ("shape", "scale", "orientation", "x", "y")
SIDE = 64


@dataset(
    "dsprites",
    help="white shapes, 64x64, 5 sources: 737,280 images or a part, 10,000 held out twice",
    folder=FOLDER,
)
def dsprites(split: int = 0) -> Data:
    """Images ``[N, 1, 64, 64]``, bytes of 0 and 255, and the numbers of their sources' values ``[N, 5]``, int64.

    Raises:
        DataError: no file is there, or it is damaged.
    """
    images, values = read_dsprites(require_form(FOLDER, PUBLISHED, *PARTS))
    return factor_data("dsprites", torch.from_numpy(images)[:, None] * 255, torch.from_numpy(values), SOURCES, split=split)


def read_dsprites(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 64, 64]``, uint8 of 0 and 1, and the numbers of the values of shape, scale, orientation, x and y.

    Raises:
        DataError: the file cannot be read, or its arrays are missing or others.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, values = arrays["imgs"], arrays["latents_classes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE) or images.max(initial=0) > 1:
        raise DataError(f"{path} holds images {images.dtype} {images.shape}, not uint8 [N, {SIDE}, {SIDE}] of 0 and 1")
    if values.ndim != 2 or len(values) != len(images) or values.shape[1] not in (len(SOURCES), len(SOURCES) + 1):
        raise DataError(f"{path} holds sources {values.shape}, not [N, 5] or [N, 6] for {len(images)} images")
    return images, values[:, -len(SOURCES) :].astype(np.int64)
