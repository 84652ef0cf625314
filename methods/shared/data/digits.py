"""Handwritten digits of scikit-learn (UCI "Optical Recognition of Handwritten Digits"): 1,797 images, 8 x 8, embedded."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset


def digits_data(name: str, label_noise: float, labels_per_class: int | None = None, *, split: int = 0) -> Data:
    """The digits as images ``[N, 1, 8, 8]`` in [0, 1]: 900 to train, 300 to validate, 597 to test, stratified by class.

    Each split has label noise of its own.

    Args:
        name: the name of the data set.
        label_noise: share of the training labels replaced by uniformly drawn ones, so that nine tenths of these become wrong;
            validation and test labels stay clean.
        labels_per_class: training images that are kept of each class; None keeps all. Validation and test stay whole.
        split: the number of the split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels, dtype=torch.int64)
    train, rest = train_test_split(np.arange(len(y)), train_size=900, stratify=labels, random_state=split)
    validation, test = train_test_split(rest, train_size=300, stratify=labels[rest], random_state=split)
    if labels_per_class is not None:
        # The split is in random order: the first images of a class are a random choice.
        train = np.concatenate([train[labels[train] == label][:labels_per_class] for label in range(10)])
    y_train = y[train].clone()
    random = np.random.default_rng(split)
    noisy = random.choice(len(train), size=round(label_noise * len(train)), replace=False)
    y_train[noisy] = torch.from_numpy(random.integers(0, 10, size=len(noisy)))
    return Data(
        name=name,
        train=TensorDataset(x[train], y_train),
        validation=TensorDataset(x[validation], y[validation]),
        test=TensorDataset(x[test], y[test]),
        meta={"classes": 10, "shape": (1, 8, 8)},
        pool=len(y),
    )


@dataset("digits", help="scikit-learn's digits, 8x8, 10 classes: 900 / 300 / 597 images")
def digits(split: int = 0) -> Data:
    """The digits with their own labels."""
    return digits_data("digits", label_noise=0.0, split=split)


@dataset("digits_noisy", help="the digits with 20 % of the training labels replaced by random ones")
def digits_noisy(split: int = 0) -> Data:
    """The setting of PS-KD's small benchmark: memorized wrong labels hurt, so regularization can help."""
    return digits_data("digits_noisy", label_noise=0.2, split=split)


@dataset("digits_noisy40", help="the digits with 40 % of the training labels replaced by random ones")
def digits_noisy40(split: int = 0) -> Data:
    """The setting of the comp-sum losses' small benchmark."""
    return digits_data("digits_noisy40", label_noise=0.4, split=split)


@dataset("digits_small", help="the digits with 10 labels a class: 100 / 300 / 597 images")
def digits_small(split: int = 0) -> Data:
    """A tenth of the training images, ten of each class: few labels, so that networks overfit and decay can help."""
    return digits_data("digits_small", label_noise=0.0, labels_per_class=10, split=split)
