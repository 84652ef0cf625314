"""Pairs of images that share several factors: tiles of characters, and tiles of the characters that follow these."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.digits import digits_data

Arrangement = Literal["spatial", "stacked"]
PAIRS = {"train": 4000, "validation": 1000, "test": 1000}


@dataclass(frozen=True)
class Alphabet:
    """Drawings of the characters of an alphabet.

    Attributes:
        images: ``[M, h, w]``.
        characters: of the images, 0 to l - 1, each at least once ``[M]``.
    """

    images: Tensor
    characters: Tensor

    @property
    def size(self) -> int:
        """l, how many characters there are."""
        return int(self.characters.max()) + 1

    def draw(self, characters: np.ndarray, random: np.random.Generator) -> Tensor:
        """A random drawing of each of some characters ``[N]``; ``[N, h, w]``."""
        order = self.characters.argsort(stable=True)
        counts = self.characters.bincount().numpy()
        starts = np.cumsum(counts) - counts
        chosen = starts[characters] + (random.random(len(characters)) * counts[characters]).astype(int)
        return self.images[order[torch.from_numpy(chosen)]]


def paired_tiles(alphabets: list[Alphabet], count: int, arrangement: Arrangement, random: np.random.Generator) -> TensorDataset:
    """Pairs of images, and the factors that they share.

    Of each alphabet a character z_i is drawn uniformly; x has a random drawing of it, y one of the character (z_i + 1) mod l_i,
    so that x and y share Σ_i log l_i nats.

    Args:
        alphabets: one for each tile.
        count: N, how many pairs.
        arrangement: tiles as a square of √n x √n, or as channels.
        random: what is drawn comes from here.

    Returns:
        x and y ``[N, 1, √n h, √n w]`` or ``[N, n, h, w]``, and z ``[N, n]``, int64.
    """
    factors = np.stack([random.integers(alphabet.size, size=count) for alphabet in alphabets], 1)
    views = []
    for shift in (0, 1):
        tiles = [alphabet.draw((factors[:, place] + shift) % alphabet.size, random) for place, alphabet in enumerate(alphabets)]
        views.append(arranged(torch.stack(tiles, 1), arrangement))
    return TensorDataset(*views, torch.from_numpy(factors))


def arranged(tiles: Tensor, arrangement: Arrangement) -> Tensor:
    """Tiles ``[N, n, h, w]`` as they are, or row by row in a square ``[N, 1, √n h, √n w]``."""
    if arrangement == "stacked":
        return tiles
    side = math.isqrt(tiles.shape[1])
    return tiles.unflatten(1, (side, side)).transpose(2, 3).flatten(3).flatten(1, 2)[:, None]


def digit_pairs(name: str, tiles: int, arrangement: Arrangement, *, split: int = 0) -> Data:
    """Pairs of tiles of scikit-learn's digits, 8 x 8 in [0, 1], each split's from images of its own.

    Args:
        name: of the data set.
        tiles: how many, each with a factor of its own; a square where they are arranged in one.
        arrangement: spatial or stacked.
        split: the number of the split, of ``digits`` too.
    """
    digits = digits_data("digits", label_noise=0.0, split=split)
    splits = {}
    for (part, count), seed in zip(PAIRS.items(), np.random.SeedSequence(split).spawn(len(PAIRS)), strict=True):
        images, labels = getattr(digits, part).tensors
        alphabets = [Alphabet(images[:, 0], labels)] * tiles
        splits[part] = paired_tiles(alphabets, count, arrangement, np.random.default_rng(seed))
    shape = tuple(splits["train"].tensors[0].shape[1:])
    meta = {"shape": shape, "classes": (10,) * tiles, "information": tiles * math.log(10)}
    return Data(name, **splits, meta=meta, pool=round(PAIRS["test"] * digits.pool / len(digits.test)))


@dataset("spatial_digits_9", help="pairs of 3x3 tiles of digits that share 9 factors, 24x24: 4,000 / 1,000 / 1,000 pairs")
def spatial_digits_9(split: int = 0) -> Data:
    """20.7 nats of shared information."""
    return digit_pairs("spatial_digits_9", 9, "spatial", split=split)


@dataset("spatial_digits_4", help="pairs of 2x2 tiles of digits that share 4 factors, 16x16: 4,000 / 1,000 / 1,000 pairs")
def spatial_digits_4(split: int = 0) -> Data:
    """9.2 nats of shared information."""
    return digit_pairs("spatial_digits_4", 4, "spatial", split=split)


@dataset("spatial_digits_1", help="pairs of digits that share one factor, 8x8: 4,000 / 1,000 / 1,000 pairs")
def spatial_digits_1(split: int = 0) -> Data:
    """2.3 nats of shared information."""
    return digit_pairs("spatial_digits_1", 1, "spatial", split=split)


@dataset("stacked_digits_9", help="pairs of 9 channels of digits that share 9 factors, 8x8: 4,000 / 1,000 / 1,000 pairs")
def stacked_digits_9(split: int = 0) -> Data:
    """20.7 nats of shared information, in channels."""
    return digit_pairs("stacked_digits_9", 9, "stacked", split=split)


@dataset("stacked_digits_4", help="pairs of 4 channels of digits that share 4 factors, 8x8: 4,000 / 1,000 / 1,000 pairs")
def stacked_digits_4(split: int = 0) -> Data:
    """9.2 nats of shared information, in channels."""
    return digit_pairs("stacked_digits_4", 4, "stacked", split=split)
