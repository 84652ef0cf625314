"""Radiology of MedMNIST v2 (Yang et al., Scientific Data 2023, arXiv:2110.14795): CT, ultrasound, X-ray and OCT together."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require

FOLDER = "medmnist"
# The sets of grey radiological images with one label each, and their numbers of classes.
CLASSES = {"breastmnist": 2, "octmnist": 4, "organamnist": 11, "organcmnist": 11, "organsmnist": 11, "pneumoniamnist": 2}
SIDE = 28
SPLITS = {"train": "train", "validation": "val", "test": "test"}


@dataset(
    "medmnist_radiology",
    help="grey radiology of several modalities and organs, 28x28, 41 classes, from the .npz files of six MedMNIST sets",
    folder=FOLDER,
)
def medmnist_radiology() -> Data:
    """Images ``[N, 1, 28, 28]`` with mean 0 and standard deviation 1 over all training pixels, in the sets' own splits.

    The sets follow one another; a label is the set's own plus the number of classes of those before it.

    Raises:
        DataError: a file is missing or damaged.
    """
    paths = require(FOLDER, *(f"{name}.npz" for name in CLASSES))
    offsets = np.cumsum([0, *CLASSES.values()])
    splits = {}
    for split, prefix in SPLITS.items():
        parts = [read_npz(path, prefix, classes) for path, classes in zip(paths, CLASSES.values(), strict=True)]
        labels = np.concatenate([y + offset for (_, y), offset in zip(parts, offsets[:-1], strict=True)])
        splits[split] = torch.from_numpy(np.concatenate([x for x, _ in parts])), torch.from_numpy(labels)
    pixels = splits["train"][0].double()
    mean, deviation = pixels.mean().item(), pixels.std(correction=0).item()
    return Data(
        name="medmnist_radiology",
        meta={"classes": int(offsets[-1]), "shape": (1, SIDE, SIDE)},
        pool=0,
        **{name: TensorDataset(_standardized(x, mean, deviation), y) for name, (x, y) in splits.items()},
    )


def read_npz(path: Path, prefix: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images ``[N, 28, 28]``, uint8, and labels ``[N]``, int64, of one split of a MedMNIST file.

    The format: arrays ``PREFIX_images`` ``[N, 28, 28]`` and ``PREFIX_labels`` ``[N, 1]``, with prefixes train, val and test.

    Args:
        path: the file.
        prefix: of the split.
        classes: labels must be below.

    Raises:
        DataError: the file cannot be read, or its arrays are missing or others.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"{prefix}_images"], arrays[f"{prefix}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    if images.dtype != np.uint8 or images.shape != (len(images), SIDE, SIDE) or labels.shape != (len(images), 1):
        raise DataError(f"{path} holds images {images.shape} and labels {labels.shape}, not [N, {SIDE}, {SIDE}] and [N, 1]")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{path} holds labels from {labels.min()} to {labels.max()}, but they go from 0 to {classes - 1}")
    return images, labels[:, 0].astype(np.int64)


def _standardized(x: Tensor, mean: float, deviation: float) -> Tensor:
    return x[:, None].float().sub_(mean).div_(deviation)
