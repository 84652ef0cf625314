"""Grey images in [0, 1] with Gaussian noise of standard deviation 0.1: a row is a noisy image and the clean one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require

SIGMA = 0.1

SIZE = 48
# Photographs that scikit-image brings along; the first four are the ones of MAID's small benchmark.
PHOTOGRAPHS = {
    "train": ("camera", "astronaut", "coins", "moon"),
    "validation": ("chelsea", "coffee", "clock", "brick"),
    "test": ("rocket", "stereo_motorcycle", "retina", "gravel"),
}

FOLDER = "image_restoration"
BSD_VALIDATION = 40
BSD_TRAIN_SHAPE, BSD_TEST_SHAPE = (180, 180), (321, 481)


@dataset("natural_images", help="scikit-image's photographs, grey, 48x48, noise 0.1: 4 / 4 / 4 pairs")
def natural_images(split: int = 0) -> Data:
    """Pairs ``[N, 1, 48, 48]``: central squares, resized with anti-aliasing."""
    images = [_photograph(name) for names in PHOTOGRAPHS.values() for name in names]
    return divided("natural_images", images, {part: len(names) for part, names in PHOTOGRAPHS.items()}, split)


@dataset("bsd_images", help="Berkeley's photographs, grey, noise 0.1: 360 / 40 pairs of 180x180, 68 of 321x481", folder=FOLDER)
def bsd_images() -> Data:
    """Pairs ``[N, 1, H, W]``; upright test images are turned, so that all have one shape."""
    paths = require(
        FOLDER,
        *(f"train400/test_{number:03d}.png" for number in range(1, 401)),
        *(f"bsd68/test{number:03d}.png" for number in range(1, 69)),
    )
    train, test = (
        [_read(path, shape) for path in part] for part, shape in ((paths[:400], BSD_TRAIN_SHAPE), (paths[400:], BSD_TEST_SHAPE))
    )
    return noisy_data("bsd_images", {"train": train[:-BSD_VALIDATION], "validation": train[-BSD_VALIDATION:], "test": test})


def _photograph(name: str) -> np.ndarray:
    import skimage.data
    from skimage.color import rgb2gray
    from skimage.util import img_as_float

    image = getattr(skimage.data, name)()
    image = image[0] if isinstance(image, tuple) else image  # of a stereo pair, the left one
    return central_square(rgb2gray(image) if image.ndim == 3 else img_as_float(image), SIZE)


def central_square(grey: np.ndarray, side: int) -> np.ndarray:
    """The middle of a grey image ``[H, W]``, resized to ``[side, side]`` with anti-aliasing."""
    from skimage.transform import resize

    size = min(grey.shape)
    top, left = ((length - size) // 2 for length in grey.shape)
    return resize(grey[top : top + size, left : left + size], (side, side), anti_aliasing=True)


def read_image(path: Path) -> np.ndarray:
    """An image file's values in [0, 1].

    Raises:
        DataError: it cannot be read.
    """
    from skimage.io import imread
    from skimage.util import img_as_float

    try:
        return img_as_float(imread(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray:
    image = read_image(path)
    image = image.T if image.shape == shape[::-1] else image
    if image.shape != shape:
        raise DataError(f"{path} holds an image of shape {image.shape}, not {shape}")
    return image


def divided(name: str, images: Sequence[np.ndarray], counts: Mapping[str, int], split: int) -> Data:
    """Noisy pairs of as many grey images ``[H, W]`` to train, validate and test with as ``counts`` says.

    Split 0 takes them in the order given, any other one in a random order.
    """
    order = np.random.default_rng(split).permutation(len(images)) if split else np.arange(len(images))
    places = np.split(order, np.cumsum(list(counts.values()))[:-1])
    clean = {part: [images[place] for place in chosen] for part, chosen in zip(counts, places, strict=True)}
    return noisy_data(name, clean, split=split, pool=len(images))


def noisy_data(name: str, clean: Mapping[str, Sequence[np.ndarray]], *, split: int = 0, pool: int = 0) -> Data:
    """Pairs ``[N, 1, H, W]`` of grey images in [0, 1] ``[H, W]`` to train, validate and test with, each with its own noise."""
    splits = {part: _pairs(np.stack(images), 3 * split + place) for place, (part, images) in enumerate(clean.items())}
    return Data(name, **splits, meta={"shape": tuple(splits["train"].tensors[0].shape[1:])}, pool=pool)


def _pairs(clean: np.ndarray, seed: int) -> TensorDataset:
    noisy = clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)
    return TensorDataset(*(torch.tensor(images, dtype=torch.float32)[:, None] for images in (noisy, clean)))
