"""The images of learned proximal networks' experiments: MNIST, CelebA and phantoms of the Mayo Clinic's CT challenge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, data_root, dataset, require
from regbench.methods.shared.data.color_photographs import read_colors
from regbench.methods.shared.data.fashion_mnist import read_mnist_files
from regbench.methods.shared.data.measured_images import measured_data
from regbench.methods.shared.data.noisy_images import noisy_data
from regbench.methods.shared.proximal.operators import Blur, CompressedSensing, Measurement, Tomography

# Of MNIST's training images, as released: the first ones train, the next test, the last validate.
MNIST_TRAINING, MNIST_TEST = 50_000, 5_000

CELEBA, IMAGES, PARTITION = "celeba", "img_align_celeba", "list_eval_partition.txt"
FACE = 128
FACES = 10_000
# Of its validation images, in their order: some to validate, and the released ones to test.
VALIDATE, JUDGE = slice(0, 20), slice(100, 120)

MAYO, PHANTOMS = "mayoct", "mayo_data_arranged_patientwise"
# Of the test phantoms, in their order.
MAYO_VALIDATION = 10


@dataset("noisy_mnist", help="MNIST, 28x28 grey, noise 0.1: 50,000 / 5,000 / 5,000 pairs, from IDX files", folder="mnist")
def noisy_mnist() -> Data:
    """Pairs ``[N, 1, 28, 28]`` of the training images."""
    images = read_mnist_files("mnist")[0].astype(np.float64) / 255
    parts = [list(part) for part in np.split(images, [MNIST_TRAINING, MNIST_TRAINING + MNIST_TEST])]
    return noisy_data("noisy_mnist", {"train": parts[0], "validation": parts[2], "test": parts[1]})


@dataset(
    "blurred_celeba",
    help="faces of CelebA, 128x128 RGB, blurred by a Gaussian of 1 pixel, noise 0.02: 10,000 / 20 / 20 images",
    folder=CELEBA,
)
def blurred_celeba() -> Data:
    """Noisy and clean faces; measurements ``[N, 3, 132, 132]`` and faces, the released ones to test."""
    return celeba_faces("blurred_celeba", FACES, VALIDATE, JUDGE)


def celeba_faces(name: str, training: int, validate: slice, judge: slice) -> Data:
    """Middles of CelebA's aligned images, blurred.

    Args:
        name: of the data set.
        training: the first of the images that the official partition has to train with.
        validate: of those that it has to validate with.
        judge: of these too.

    Raises:
        DataError: a file is missing or damaged.
    """
    lines = require(CELEBA, PARTITION)[0].read_text(encoding="utf-8").splitlines()
    parts: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for number, line in enumerate(lines, start=1):
        file, _, part = line.strip().partition(" ")
        if part not in parts:
            raise DataError(f"{CELEBA}/{PARTITION} is damaged, copy it again: line {number} is '{line}', not 'NAME.jpg 0'")
        parts[part].append(file)
    names = {"train": parts["0"][:training], "validation": parts["1"][validate], "test": parts["1"][judge]}
    clean = {part: torch.stack([_face(path) for path in _require_faces(chosen)]) for part, chosen in names.items()}
    return measured_data(name, clean, Blur((3, FACE, FACE), deviation=1.0), 0.02)


def _require_faces(names: list[str]) -> list[Path]:
    return require(CELEBA, *(f"{IMAGES}/{name}" for name in names))


def _face(path: Path) -> Tensor:
    """The middle of an aligned image ``[3, 128, 128]`` in [0, 1]."""
    image = torch.from_numpy(read_colors(path)).permute(2, 0, 1)
    top, left = (round((length - FACE) / 2) for length in image.shape[1:])
    return image[:, top : top + FACE, left : left + FACE].float() / 255


@dataset("projected_mayo", help="phantoms of Mayo CT, 512x512, sums along rays at 200 angles, noise 2, NPY files", folder=MAYO)
def projected_mayo() -> Data:
    """Noisy and clean phantoms; sinograms and phantoms."""
    return mayo_data("projected_mayo", lambda shape: Tomography(shape, angles=200), 2.0)


@dataset("sensed_mayo", help="phantoms of Mayo CT, 512x512, 16,384 random combinations, noise 0.001, NPY files", folder=MAYO)
def sensed_mayo() -> Data:
    """Noisy and clean phantoms; a sixteenth as many measurements as pixels, and phantoms."""
    return mayo_data("sensed_mayo", lambda shape: CompressedSensing(shape, measurements=shape[1] * shape[2] // 16), 1e-3)


def mayo_data(name: str, operator: Callable[[tuple[int, int, int]], Measurement], sigma: float) -> Data:
    """``mayo_data_arranged_patientwise/train/Phantom`` to train with, ``…/test/Phantom`` to validate and test with.

    Args:
        name: of the data set.
        operator: gives A of a shape.
        sigma: standard deviation of the noise of measurements.

    Raises:
        DataError: a folder is missing, or a file damaged.
    """
    train, rest = (_phantoms(part) for part in ("train", "test"))
    clean = {"train": train, "validation": rest[:MAYO_VALIDATION], "test": rest[MAYO_VALIDATION:]}
    height, width = train.shape[2:]
    return measured_data(name, clean, operator((1, height, width)), sigma)


def _phantoms(part: str) -> Tensor:
    """All phantoms of a folder, by name ``[N, 1, H, W]``."""
    folder = f"{PHANTOMS}/{part}/Phantom"
    root = data_root()
    paths = sorted((root / MAYO / folder).glob("*.npy")) if root else []
    if not paths:
        paths = require(MAYO, f"{folder}/phantom_0.npy")
    try:
        return torch.from_numpy(np.stack([np.load(path, allow_pickle=False) for path in paths])).float()[:, None]
    except (OSError, ValueError) as error:
        raise DataError(f"{root}/{MAYO}/{folder} holds a damaged file, copy it again: {error}") from None
