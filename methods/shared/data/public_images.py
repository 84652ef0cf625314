"""Public image sets read from files: bytes become floats, and part of the training images is held out for validation."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data

SPLIT_SEED = 0


def image_data(
    name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], *, validation: int, classes: int
) -> Data:
    """A data set of images ``[N, C, H, W]`` in [0, 1] with the set's own test split, stratified by class.

    Args:
        name: the name of the data set.
        train: images ``[N, C, H, W]`` and labels ``[N]``, both uint8.
        test: likewise.
        validation: how many training images are held out, the same ones in every run.
        classes: number of classes K.

    Raises:
        DataError: a label is not below K.
    """
    from sklearn.model_selection import train_test_split

    for _, labels in (train, test):
        if labels.max() >= classes:
            raise DataError(
                f"data set '{name}' is damaged: it holds label {labels.max()}, but labels go from 0 to {classes - 1}"
            )
    images, labels = train
    learned, held_out = train_test_split(np.arange(len(labels)), test_size=validation, stratify=labels, random_state=SPLIT_SEED)
    return Data(
        name=name,
        train=_tensors(images[learned], labels[learned]),
        validation=_tensors(images[held_out], labels[held_out]),
        test=_tensors(*test),
        meta={"classes": classes, "shape": images.shape[1:]},
    )


def _tensors(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    return TensorDataset(torch.tensor(images, dtype=torch.float32).div_(255), torch.tensor(labels, dtype=torch.int64))
