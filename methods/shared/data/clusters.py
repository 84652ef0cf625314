"""Images to be clustered: none has a label in training; the labels of a third are for tuning, the others' for the test."""

import numpy as np
import torch
from skimage.transform import resize
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.discovery import ALPHABETS, FASHION_IMAGES, OMNIGLOT_SIDE
from regbench.methods.shared.data.fashion_mnist import FOLDER as FASHION
from regbench.methods.shared.data.fashion_mnist import read_mnist_files
from regbench.methods.shared.data.omniglot_characters import FILE as OMNIGLOT_FILE
from regbench.methods.shared.data.omniglot_characters import FOLDER as OMNIGLOT
from regbench.methods.shared.data.omniglot_characters import read_omniglot

VALIDATION = 1 / 3


def clusters_data(name: str, x: np.ndarray, labels: np.ndarray, *, split: int = 0, pool: int | None = None) -> Data:
    """All images in the training split, without labels; in the other two ``(x, y, row)``, with its number in the first.

    Args:
        name: the name of the data set.
        x: images ``[N, C, H, W]`` in [-1, 1].
        labels: their classes ``[N]``, from 0 without gaps.
        split: the number of the split, which draws the third that is for tuning.
        pool: how many images N were drawn from, where another split has others; None: every split has the same.
    """
    from sklearn.model_selection import train_test_split

    images, y = torch.tensor(x, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)
    parts = train_test_split(np.arange(len(y)), train_size=VALIDATION, stratify=labels, random_state=split)
    validation, test = (TensorDataset(images[rows], y[rows], torch.tensor(rows)) for rows in parts)
    meta = {"classes": int(y.max()) + 1, "shape": tuple(x.shape[1:])}
    return Data(name, TensorDataset(images), validation, test, meta, pool or len(y))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's digits ``[1797, 1, 8, 8]`` in [-1, 1], and their classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 1, 8, 8) / 8 - 1, labels


@dataset("digits_clusters", help="scikit-learn's digits in [-1, 1], without labels: 1,797 images, 599 / 1,198 judged")
def digits_clusters(split: int = 0) -> Data:
    """Ten clusters of equal size."""
    return clusters_data("digits_clusters", *_digits(), split=split)


@dataset("digits_clusters_unbalanced", help="180 of each of the digits 0 to 4, 18 of each other: 985 images, 328 / 657 judged")
def digits_clusters_unbalanced(split: int = 0) -> Data:
    """Large and small clusters, of which a uniform prior is wrong; nearly all images of the large ones are in every split."""
    x, labels = _digits()
    order = np.random.default_rng(split).permutation(len(labels))
    sizes = [180] * 5 + [18] * 5
    rows = np.concatenate([order[labels[order] == label][:size] for label, size in enumerate(sizes)])
    return clusters_data("digits_clusters_unbalanced", x[rows], labels[rows], split=split)


@dataset("fashion_clusters", help="articles of fashion, 14x14, 10 classes: 3,000 images, 1,000 / 2,000 judged", folder=FASHION)
def fashion_clusters(split: int = 0) -> Data:
    """A part of Fashion-MNIST's training images, in each split another, halved in size."""
    images, labels, _, _ = read_mnist_files(FASHION)
    rows = np.random.default_rng(split).permutation(len(labels))[:FASHION_IMAGES]
    halved = images[rows].reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 127.5 - 1
    return clusters_data("fashion_clusters", halved, labels[rows], split=split, pool=len(labels))


@dataset(
    "omniglot_clusters",
    help="Greek and Latin letters, 16x16, 50 classes: 1,000 images, 333 / 667 judged, from Parquet",
    folder=OMNIGLOT,
)
def omniglot_clusters(split: int = 0) -> Data:
    """Many small clusters."""
    (path,) = require(OMNIGLOT, OMNIGLOT_FILE)
    images, labels = read_omniglot(path, ALPHABETS)
    small = resize(images.astype(np.float32), (len(images), OMNIGLOT_SIDE, OMNIGLOT_SIDE), anti_aliasing=True)
    return clusters_data("omniglot_clusters", 2 * small[:, None] - 1, labels, split=split)


def mnist_clusters(name: str, folder: str, *, training_images: bool, split: int) -> Data:
    """Images ``[N, 1, 28, 28]`` of a set that is kept as MNIST is: the test images, or all of them."""
    images, labels, test_images, test_labels = read_mnist_files(folder)
    if training_images:
        test_images, test_labels = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
    return clusters_data(name, test_images[:, None] / np.float32(127.5) - 1, test_labels, split=split)


@dataset("fashion_test_clusters", help="the 10,000 test images of Fashion-MNIST, 28x28, from IDX files", folder=FASHION)
def fashion_test_clusters(split: int = 0) -> Data:
    """As MNIST-test, of articles of fashion."""
    return mnist_clusters("fashion_test_clusters", FASHION, training_images=False, split=split)


@dataset("mnist_test_clusters", help="the 10,000 test images of MNIST, 28x28, from IDX files", folder="mnist")
def mnist_test_clusters(split: int = 0) -> Data:
    """MNIST-test of the paper."""
    return mnist_clusters("mnist_test_clusters", "mnist", training_images=False, split=split)


@dataset("mnist_full_clusters", help="all 70,000 images of MNIST, 28x28, from IDX files", folder="mnist")
def mnist_full_clusters(split: int = 0) -> Data:
    """MNIST-full of the paper."""
    return mnist_clusters("mnist_full_clusters", "mnist", training_images=True, split=split)
