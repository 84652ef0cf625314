"""MPI3D (Gondal et al., NeurIPS 2019): a robot arm that holds an object, seven known sources, 64 x 64 in colour.

Read from a published file: a NumPy array ``images`` ``[1036800, 64, 64, 3]``, uint8, in the order of all combinations of the
sources' values, the last of which changes fastest.
"""

import math
import zipfile

import numpy as np
import torch

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require_form
from regbench.methods.shared.data.factors import factor_data

FOLDER = "mpi3d"
# The rendered images, and photographs of the same arrangements.
FILES = ("mpi3d_toy.npz", "mpi3d_real.npz", "mpi3d_realistic.npz")
SOURCES = {
    "object_color": 6,
    "object_shape": 6,
    "object_size": 2,
    "camera_height": 3,
    "background_color": 3,
    "horizontal_axis": 40,
    "vertical_axis": 40,
}
SIDE = 64


@dataset(
    "mpi3d",
    help="a robot arm with an object, 64x64 RGB, 7 sources: 1,036,800 images, 10,000 held out twice",
    folder=FOLDER,
)
def mpi3d(split: int = 0) -> Data:
    """Images ``[N, 3, 64, 64]``, bytes, and the numbers of their sources' values ``[N, 7]``, int64.

    Raises:
        DataError: no file is there, or it is damaged.
    """
    return mpi3d_data(SOURCES, split=split)


def mpi3d_data(sources: dict[str, int], *, split: int = 0) -> Data:
    """A file of all combinations of some sources' values.

    Args:
        sources: how many values each source has, the last of which changes fastest.
        split: the number of the split.

    Raises:
        DataError: no file is there, or it is damaged.
    """
    path = require_form(FOLDER, *FILES)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    count = math.prod(sources.values())
    if images.dtype != np.uint8 or images.shape != (count, SIDE, SIDE, 3):
        raise DataError(f"{path} holds images {images.dtype} {images.shape}, not uint8 [{count}, {SIDE}, {SIDE}, 3]")
    values = np.stack(np.unravel_index(np.arange(count), tuple(sources.values())), 1)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    return factor_data("mpi3d", x, torch.from_numpy(values), tuple(sources), split=split)
