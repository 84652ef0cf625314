"""Bags of noisy handwritten digits, embedded: a bag is positive if it holds nines."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.bags import Bags
from regbench.methods.shared.data.digits import digits_data

BAG_SIZE = 60
BAGS = {"train": 100, "validation": 100, "test": 300}
WITNESS = 9


def digit_bags_data(name: str, witness_rate: float, noise: float, *, split: int = 0) -> Data:
    """Balanced bags of 60 instances of 64 pixels, drawn from the splits of ``digits``: no image is in two splits.

    An image occurs at most once in a bag, but in many bags, each time with fresh noise.

    Args:
        name: the name of the data set.
        witness_rate: share of nines in a positive bag, rounded to whole instances; a negative bag holds none.
        noise: standard deviation of the Gaussian noise on the pixels, which lie in [0, 1] without it.
        split: the number of the split, of ``digits`` too.
    """
    digits = digits_data("digits", label_noise=0.0, split=split)
    splits = {}
    for (part, count), seed in zip(BAGS.items(), np.random.SeedSequence(split).spawn(len(BAGS)), strict=True):
        images = getattr(digits, part)
        splits[part] = _bags(images, count, round(witness_rate * BAG_SIZE), noise, np.random.default_rng(seed))
    pool = round(BAGS["test"] * digits.pool / len(digits.test))
    return Data(name, **splits, meta={"classes": 2, "shape": (64,)}, pool=pool)


def _bags(images: TensorDataset, count: int, witnesses: int, noise: float, random: np.random.Generator) -> Bags:
    x, y = (tensor.numpy() for tensor in images.tensors)
    nines, others = np.flatnonzero(y == WITNESS), np.flatnonzero(y != WITNESS)
    labels = np.arange(count) % 2
    chosen = _draw(others, count, BAG_SIZE, random)
    chosen[labels == 1, :witnesses] = _draw(nines, labels.sum(), witnesses, random)
    chosen = random.permuted(chosen, axis=1).ravel()
    features = x.reshape(len(x), -1)[chosen]
    features = features + noise * random.standard_normal(features.shape)
    return Bags(
        torch.tensor(features, dtype=torch.float32),
        torch.full((count,), BAG_SIZE),
        torch.tensor(labels),
        torch.tensor(y[chosen] == WITNESS),
    )


def _draw(pool: np.ndarray, rows: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Rows ``[rows, size]`` drawn from a pool, without repetition within a row."""
    return pool[random.random((rows, len(pool))).argsort(axis=1)[:, :size]]


@dataset("digit_bags", help="bags of 60 noisy digits, positive if 6 are nines: 100 / 100 / 300 bags")
def digit_bags(split: int = 0) -> Data:
    """One instance in ten of a positive bag is a nine; noise 0.3: the small benchmark of attention entropy."""
    return digit_bags_data("digit_bags", witness_rate=0.1, noise=0.3, split=split)


@dataset("digit_bags_rare", help="bags of 60 noisy digits, positive if 3 are nines: 100 / 100 / 300 bags")
def digit_bags_rare(split: int = 0) -> Data:
    """One instance in twenty of a positive bag is a nine; noise 0.2: attention must be sharper here."""
    return digit_bags_data("digit_bags_rare", witness_rate=0.05, noise=0.2, split=split)
