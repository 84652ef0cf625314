"""Images of known and novel classes: part of the known ones has labels, everything else is to be discovered."""

import numpy as np
import torch
from skimage.transform import resize
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.cifar import cifar10, cifar100
from regbench.methods.shared.data.fashion_mnist import FOLDER as FASHION
from regbench.methods.shared.data.fashion_mnist import read_mnist_files
from regbench.methods.shared.data.omniglot_characters import FILE as OMNIGLOT_FILE
from regbench.methods.shared.data.omniglot_characters import FOLDER as OMNIGLOT
from regbench.methods.shared.data.omniglot_characters import read_omniglot

# Of the images without label, those by whose labels tuning judges; the others are for the test.
VALIDATION = 1 / 3
FASHION_IMAGES = 3000
ALPHABETS = ["Greek", "Latin"]
OMNIGLOT_SIDE = 16


def discovery_data(
    name: str, x: np.ndarray, labels: np.ndarray, *, known: list[int], labelled: float, split: int = 0, pool: int | None = None
) -> Data:
    """All images in the training split, labels of some known classes' images; the others' are for judging alone.

    Classes are numbered anew: the known ones first, in the order given. The training split's rows are ``(x, y, labelled)``,
    with y = -1 where there is no label. Its images without label are those of the other two splits: what is judged is what was
    to be discovered.

    Args:
        name: the name of the data set.
        x: images ``[N, C, H, W]`` in [0, 1].
        labels: their classes ``[N]``, from 0 without gaps.
        known: the known classes.
        labelled: share of each known class's images that have a label.
        split: the number of the split, which draws the images that have a label, and those to validate with.
        pool: how many images N were drawn from, where another split has others; None: every split has the same.
    """
    from sklearn.model_selection import train_test_split

    classes = int(labels.max()) + 1
    order = [*known, *(label for label in range(classes) if label not in known)]
    y = np.argsort(order)[labels]
    random = np.random.default_rng(split)
    has_label = np.zeros(len(y), dtype=bool)
    for label in range(len(known)):
        rows = random.permutation(np.flatnonzero(y == label))
        has_label[rows[: round(labelled * len(rows))]] = True
    validation, test = train_test_split(
        np.flatnonzero(~has_label), train_size=VALIDATION, stratify=y[~has_label], random_state=split
    )
    images, truth = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)
    visible = torch.where(torch.tensor(has_label), truth, -1)
    return Data(
        name,
        train=TensorDataset(images, visible, torch.tensor(has_label)),
        validation=TensorDataset(images[validation], truth[validation]),
        test=TensorDataset(images[test], truth[test]),
        meta={"classes": classes, "known": len(known), "shape": tuple(x.shape[1:])},
        pool=pool or len(y),
    )


def digits_discovery_data(name: str, known: list[int], labelled: float, split: int) -> Data:
    """All 1,797 digits of scikit-learn, ``[N, 1, 8, 8]``; see ``discovery_data``."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return discovery_data(name, images.reshape(-1, 1, 8, 8) / 16, labels, known=known, labelled=labelled, split=split)


@dataset("digits_discovery", help="scikit-learn's digits, 0 to 4 known, half of these labelled: 450 labels, 449 / 898 images")
def digits_discovery(split: int = 0) -> Data:
    """The setting of LegoGCD on CIFAR-10: half of the classes are known, and half of their images labelled."""
    return digits_discovery_data("digits_discovery", list(range(5)), 0.5, split)


@dataset("digits_discovery_few", help="as digits_discovery, 5 % of the known classes labelled: 45 labels, 584 / 1,168 images")
def digits_discovery_few(split: int = 0) -> Data:
    """Nine labels a known class: few enough for known classes to be forgotten."""
    return digits_discovery_data("digits_discovery_few", list(range(5)), 0.05, split)


@dataset(
    "fashion_discovery",
    help="articles of fashion, 14x14, 5 of 10 classes known, half of these labelled: 3,000 images",
    folder=FASHION,
)
def fashion_discovery(split: int = 0) -> Data:
    """A part of Fashion-MNIST's training images, in each split another, halved in size; every second class is known."""
    images, labels, _, _ = read_mnist_files(FASHION)
    rows = np.random.default_rng(split).permutation(len(labels))[:FASHION_IMAGES]
    halved = images[rows].reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255
    known = [0, 2, 4, 6, 8]
    return discovery_data("fashion_discovery", halved, labels[rows], known=known, labelled=0.5, split=split, pool=len(labels))


@dataset(
    "omniglot_discovery",
    help="Greek and Latin letters, 16x16, 25 of 50 classes known, half of these labelled: 1,000 images, from Parquet",
    folder=OMNIGLOT,
)
def omniglot_discovery(split: int = 0) -> Data:
    """Many classes of 20 images each that differ in strokes, as birds do in feathers; every second character is known."""
    (path,) = require(OMNIGLOT, OMNIGLOT_FILE)
    images, labels = read_omniglot(path, ALPHABETS)
    small = resize(images.astype(np.float32), (len(images), OMNIGLOT_SIDE, OMNIGLOT_SIDE), anti_aliasing=True)
    known = list(range(0, int(labels.max()) + 1, 2))
    return discovery_data("omniglot_discovery", small[:, None], labels, known=known, labelled=0.5, split=split)


def cifar_discovery(data: Data, known: int, split: int = 0) -> Data:
    """The 50,000 training images of CIFAR, the first classes known, half of their images labelled (Vaze et al., CVPR 2022)."""
    splits = (data.train.tensors, data.validation.tensors)
    x, y = (torch.cat(parts).numpy() for parts in zip(*splits, strict=True))
    return discovery_data(f"{data.name}_discovery", x, y, known=list(range(known)), labelled=0.5, split=split)


@dataset(
    "cifar10_discovery",
    help="CIFAR-10, 5 of 10 classes known, half of these labelled: 50,000 images",
    folder="cifar-10-batches-bin",
)
def cifar10_discovery(split: int = 0) -> Data:
    """The classes of Vaze et al. and of all who followed them."""
    return cifar_discovery(cifar10(), 5, split)


@dataset(
    "cifar100_discovery",
    help="CIFAR-100, 80 of 100 classes known, half of these labelled: 50,000 images",
    folder="cifar-100-binary",
)
def cifar100_discovery(split: int = 0) -> Data:
    """The classes of Vaze et al. and of all who followed them."""
    return cifar_discovery(cifar100(), 80, split)
