"""Handwritten digits for generation: scikit-learn's 8 x 8 images scaled to [-1, 1], embedded."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset


@dataset("digit_images", help="scikit-learn's digits in [-1, 1] for generation: 1,197 / 300 / 300 images, 8x8")
def digit_images(split: int = 0) -> Data:
    """Images ``[N, 1, 8, 8]`` with their labels (which only the evaluation uses), stratified by class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 8.0 - 1.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels, dtype=torch.int64)
    train, rest = train_test_split(np.arange(len(y)), train_size=1197, stratify=labels, random_state=split)
    validation, test = train_test_split(rest, train_size=300, stratify=labels[rest], random_state=split)
    splits = {
        name: TensorDataset(x[rows], y[rows]) for name, rows in (("train", train), ("validation", validation), ("test", test))
    }
    return Data(name="digit_images", meta={"shape": (1, 8, 8), "classes": 10}, pool=len(y), **splits)
