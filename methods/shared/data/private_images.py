"""Images to protect: scikit-learn's digits and Fashion-MNIST, with a part that an attacker has."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import dataset
from regbench.methods.shared.data.fashion_mnist import fashion_mnist
from regbench.methods.shared.data.private import PrivateData

SPLIT_SEED = 0


@dataset("private_digits", help="scikit-learn's digits, 8x8, to protect: 700 / 200 / 297 images, 600 for the attacker")
def private_digits(split: int = 0) -> PrivateData:
    """Images ``[N, 1, 8, 8]`` in [0, 1], stratified by class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels, dtype=torch.int64)
    rest = np.arange(len(y))
    splits = {}
    for name, size in (("train", 700), ("auxiliary", 600), ("validation", 200)):
        rows, rest = train_test_split(rest, train_size=size, stratify=labels[rest], random_state=split)
        splits[name] = TensorDataset(x[rows], y[rows])
    test, meta = TensorDataset(x[rest], y[rest]), {"classes": 10, "shape": (1, 8, 8)}
    return PrivateData("private_digits", test=test, meta=meta, pool=len(y), **splits)


@dataset(
    "private_fashion_mnist",
    help="articles of fashion, 28x28 grey, to protect: 27,500 / 5,000 / 10,000 images, 27,500 for the attacker",
    folder="fashion_mnist",
)
def private_fashion_mnist() -> PrivateData:
    """Images ``[N, 1, 28, 28]`` in [0, 1]: half of the training images of ``fashion_mnist`` are the attacker's."""
    from sklearn.model_selection import train_test_split

    plain = fashion_mnist()
    x, y = plain.train.tensors
    private, public = train_test_split(np.arange(len(y)), train_size=0.5, stratify=y.numpy(), random_state=SPLIT_SEED)
    return PrivateData(
        "private_fashion_mnist",
        train=TensorDataset(x[private], y[private]),
        validation=plain.validation,
        test=plain.test,
        meta=plain.meta,
        auxiliary=TensorDataset(x[public], y[public]),
    )
