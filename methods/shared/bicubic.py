"""Bicubic resizing with the conventions of MATLAB's imresize, by which rescaling and super-resolution are judged."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def resize(images: Tensor, scale: float) -> Tensor:
    """Images ``[..., H, W]`` resized to ``[..., ⌈scale H⌉, ⌈scale W⌉]``, with antialiasing where they shrink.

    Borders are continued by reflection, the border's pixel repeated. Keys' cubic kernel with a = -1/2.
    """
    rows, columns = (resize_matrix(length, scale).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.mT


@lru_cache(64)
def resize_matrix(length: int, scale: float) -> Tensor:
    """The linear map ``[⌈scale length⌉, length]``, float64, by which a line of pixels is resized."""
    shrink = min(scale, 1.0)
    out = int(np.ceil(scale * length - 1e-9))
    centre = (np.arange(out) + 0.5) / scale - 0.5
    taps = int(np.ceil(4 / shrink)) + 2
    places = np.floor(centre - 2 / shrink).astype(int)[:, None] + np.arange(taps)
    weights = _cubic(shrink * (centre[:, None] - places))
    weights /= weights.sum(1, keepdims=True)
    around = places % (2 * length)
    matrix = np.zeros((out, length))
    np.add.at(matrix, (np.arange(out)[:, None], np.where(around < length, around, 2 * length - 1 - around)), weights)
    return torch.from_numpy(matrix)


def _cubic(x: np.ndarray) -> np.ndarray:
    t = np.abs(x)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))
