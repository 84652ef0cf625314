"""Pairs of a colour image in low and in high resolution, bytes: what super-resolution learns from and is judged on.

Low resolution is bicubic shrinking with anti-aliasing, rounded to bytes. To learn from there are patches of one size; images to
be judged on are whole. A row is (low ``[3, h, w]``, high ``[3, s h, s w]``, size ``[2]``) with the scale s; ``size`` is the
height and the width of the image in high resolution, beyond which smaller images of a split are filled up with zeros.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset, div2k, require
from regbench.methods.shared.data.div2k import TEST_FOLDER
from regbench.methods.shared.data.noisy_images import read_image
from regbench.methods.shared.data.photographs import PHOTOGRAPHS, dealt, of_one_size, photographs

SIDE = 192
PATCH = 16

KODAK_TRAIN, KODAK_IMAGES, KODAK_PATCH = 20, 24, 32
# The paper's patches of DIV2K: 200 pixels in high resolution, of which training takes random crops.
DIV2K_PATCH = 50


@dataset("photographs_x2", help="bundled colour photographs, 192x192, x2: 726 patches of 16x16 of 6, 2 and 2 whole ones")
def photographs_x2(split: int = 0) -> Data:
    """Patches overlap by half."""
    return _bundled("photographs_x2", 2, split)


@dataset("photographs_x4", help="bundled colour photographs, 192x192, x4: 150 patches of 16x16 of 6, 2 and 2 whole ones")
def photographs_x4(split: int = 0) -> Data:
    """Patches overlap by half."""
    return _bundled("photographs_x4", 4, split)


@dataset(
    "kodak_set5_x2",
    help="x2: 1,920 patches of 32x32 of 20 photographs of Kodak's, 4 whole ones, Set5",
    folder=TEST_FOLDER,
)
def kodak_set5_x2() -> Data:
    """Learned from Kodak's photographs, judged on the five images that the literature is judged on."""
    return _kodak("kodak_set5_x2", 2)


@dataset("kodak_set5_x4", help="x4: 480 patches of 32x32 of 20 photographs of Kodak's, 4 whole ones, Set5", folder=TEST_FOLDER)
def kodak_set5_x4() -> Data:
    """Learned from Kodak's photographs, judged on the five images that the literature is judged on."""
    return _kodak("kodak_set5_x4", 4)


@dataset("div2k_set5_x4", help="DIV2K, x4: patches of 50x50 of 800 images, 100 whole ones, Set5 to test", folder=div2k.FOLDER)
def div2k_set5_x4() -> Data:
    """As ``div2k_set14_x4``, with Set5 to test."""
    return _div2k("set5")


@dataset("div2k_set14_x4", help="DIV2K, x4: patches of 50x50 of 800 images, 100 whole ones, Set14 to test", folder=div2k.FOLDER)
def div2k_set14_x4() -> Data:
    """The published sets, whose files ``div2k`` names; about 6 GB of bytes."""
    return _div2k("set14")


def _bundled(name: str, scale: int, split: int) -> Data:
    pictures = list(photographs(SIDE))
    parts = dealt(pictures, {part: len(names) for part, names in PHOTOGRAPHS.items()}, split)
    return paired(name, scale, PATCH, PATCH // 2, **parts, pool=len(pictures))


def _div2k(tested: Literal["set5", "set14"]) -> Data:
    parts = div2k.training_images(), div2k.validation_images(), div2k.test_images(tested)
    train, validation, test = map(read_bytes, parts)
    return paired(f"div2k_{tested}_x4", 4, DIV2K_PATCH, DIV2K_PATCH, train, validation, test)


def _kodak(name: str, scale: int) -> Data:
    photos = require(TEST_FOLDER, *(f"kodak24/kodim{number:02d}.png" for number in range(1, KODAK_IMAGES + 1)))
    train, validation, test = map(read_bytes, (photos[:KODAK_TRAIN], photos[KODAK_TRAIN:], div2k.test_images("set5")))
    return paired(name, scale, KODAK_PATCH, KODAK_PATCH, train, validation, test)


def read_bytes(paths: Sequence[Path]) -> list[Tensor]:
    """Colour images of files, ``[3, H, W]``, bytes; grey ones get three equal channels.

    Raises:
        DataError: a file cannot be read.
    """
    images = [read_image(path) for path in paths]
    return [as_bytes(image[..., :3] if image.ndim == 3 else np.stack([image] * 3, -1)) for image in images]


def as_bytes(image: np.ndarray) -> Tensor:
    """An image ``[H, W, 3]`` in [0, 1] as bytes ``[3, H, W]``."""
    return torch.from_numpy(image).permute(2, 0, 1).mul(255).round().clamp(0, 255).to(torch.uint8)


def shrunk(high: Tensor, scale: int) -> Tensor:
    """Images ``[N, 3, H, W]``, bytes, in low resolution ``[N, 3, H / scale, W / scale]``: bicubic (a = -½), anti-aliased."""
    size = (high.shape[2] // scale, high.shape[3] // scale)
    return interpolate(high.float(), size, mode="bicubic", antialias=True).round().clamp(0, 255).to(torch.uint8)


def paired(
    name: str,
    scale: int,
    patch: int,
    stride: int,
    train: Sequence[Tensor],
    validation: Sequence[Tensor],
    test: Sequence[Tensor],
    pool: int = 0,
) -> Data:
    """Pairs of images ``[3, H, W]``, bytes.

    Args:
        name: of the data set.
        scale: by which images are shrunk.
        patch: side of a training patch in low resolution.
        stride: from one patch to the next, in low resolution; patches of one image follow one another.
        train: images to cut patches of.
        validation: images that stay whole, but for what the scale does not divide.
        test: likewise.
        pool: see ``Data``.
    """
    cut = torch.cat([patches(image, patch * scale, stride * scale) for image in train])
    size = torch.tensor(cut.shape[2:]).expand(len(cut), 2)
    learned = TensorDataset(shrunk(cut, scale), cut, size)
    meta = {"shape": (3, patch, patch), "scale": scale}
    return Data(name, learned, _whole(validation, scale), _whole(test, scale), meta, pool)


def patches(image: Tensor, side: int, stride: int) -> Tensor:
    """All patches ``[N, 3, side, side]`` of an image ``[3, H, W]`` on a grid, row by row."""
    windows = image.unfold(1, side, stride).unfold(2, side, stride)
    return windows.permute(1, 2, 0, 3, 4).reshape(-1, image.shape[0], side, side).contiguous()


def _whole(images: Sequence[Tensor], scale: int) -> TensorDataset:
    even = [image[:, : image.shape[1] // scale * scale, : image.shape[2] // scale * scale] for image in images]
    high, sizes = of_one_size(even)
    low, _ = of_one_size([shrunk(image[None], scale)[0] for image in even])
    return TensorDataset(low, high, sizes)
