"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), from the files of their binary versions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.public_images import image_data

SHAPE = (3, 32, 32)
VALIDATION = 5_000


@dataset(
    "cifar10",
    help="photographs, 32x32 RGB, 10 classes: 45,000 / 5,000 / 10,000 images, from the binary version",
    folder="cifar-10-batches-bin",
)
def cifar10() -> Data:
    """Images ``[N, 3, 32, 32]`` in [0, 1], stratified by class; the test split is the original one."""
    train = {f"data_batch_{number}.bin": 10_000 for number in range(1, 6)}
    return cifar_data(
        "cifar10", "cifar-10-batches-bin", train, {"test_batch.bin": 10_000}, label_bytes=1, classes=10, validation=VALIDATION
    )


@dataset(
    "cifar10_images",
    help="CIFAR-10 in [-1, 1] for generation, training images mirrored too: 90,000 / 5,000 / 10,000 images, 32x32 RGB",
    folder="cifar-10-batches-bin",
)
def cifar10_images() -> Data:
    """Images ``[N, 3, 32, 32]`` with their labels, which only the evaluation uses."""
    return for_generation("cifar10_images", cifar10())


def for_generation(name: str, data: Data) -> Data:
    """Images scaled from [0, 1] to [-1, 1], and each training image as it is and mirrored; splits as they were."""
    train, validation, test = (
        TensorDataset(2 * x - 1, y) for x, y in (split.tensors for split in (data.train, data.validation, data.test))
    )
    x, y = train.tensors
    mirrored = TensorDataset(torch.cat([x, x.flip(3)]), y.repeat(2))
    return Data(name, train=mirrored, validation=validation, test=test, meta=data.meta)


@dataset(
    "cifar100",
    help="photographs, 32x32 RGB, 100 classes: 45,000 / 5,000 / 10,000 images, from the binary version",
    folder="cifar-100-binary",
)
def cifar100() -> Data:
    """Images ``[N, 3, 32, 32]`` in [0, 1] with their fine labels, stratified by class; the test split is the original one."""
    train, test = {"train.bin": 50_000}, {"test.bin": 10_000}
    return cifar_data("cifar100", "cifar-100-binary", train, test, label_bytes=2, classes=100, validation=VALIDATION)


def cifar_data(
    name: str,
    folder: str,
    train: Mapping[str, int],
    test: Mapping[str, int],
    *,
    label_bytes: int,
    classes: int,
    validation: int,
) -> Data:
    """A data set from files of CIFAR's binary format.

    Args:
        name: the name of the data set.
        folder: the folder below ``REGBENCH_DATA`` that holds the files.
        train: number of images by name of file.
        test: likewise.
        label_bytes: bytes before each image's pixels; the last of them is the label.
        classes: number of classes.
        validation: how many training images are held out.

    Raises:
        DataError: a file is missing or damaged.
    """
    paths = {path.name: path for path in require(folder, *train, *test)}
    splits = []
    for files in (train, test):
        parts = [read_cifar(paths[file], count, label_bytes) for file, count in files.items()]
        splits.append((np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])))
    return image_data(name, *splits, validation=validation, classes=classes)


def read_cifar(path: Path, count: int, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 3, 32, 32]`` and labels ``[N]``, bytes, of one file of CIFAR's binary format.

    The format: for each image its label bytes, then 1,024 red, 1,024 green and 1,024 blue pixels, row by row.

    Args:
        path: the file.
        count: how many images N it must hold.
        label_bytes: bytes before each image's pixels; the last of them is the label.

    Raises:
        DataError: the file has another size.
    """
    content = np.fromfile(path, np.uint8)
    row = label_bytes + SHAPE[0] * SHAPE[1] * SHAPE[2]
    if len(content) != count * row:
        raise DataError(f"{path} is damaged, copy it again: {len(content)} bytes in place of {count} images of {row} bytes")
    rows = content.reshape(count, row)
    return rows[:, label_bytes:].reshape(count, *SHAPE), rows[:, label_bytes - 1]
