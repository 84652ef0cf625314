"""Handwritten digits as if taken by three imaging devices: a small stand-in for images of many modalities and organs."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.digits import digits_data

DIGITS, MODALITIES = 10, 3


@dataset(
    "digit_modalities",
    help="scikit-learn's digits, 8x8, each raw, inverted or as edges; 30 classes (digit and modality): 900 / 300 / 597 images",
)
def digit_modalities(split: int = 0) -> Data:
    """Images ``[N, 1, 8, 8]`` with mean 0 and standard deviation 1 over all training pixels, in the splits of ``digits``.

    Each image is shown once, in a modality drawn at random, in each split anew: as it is, as 1 - x, or as ``edges``. Its label
    is the digit plus 10 times the modality.
    """
    plain = digits_data("digits", label_noise=0.0, split=split)
    random = np.random.default_rng(split)
    splits = {name: _shown(getattr(plain, name), random) for name in ("train", "validation", "test")}
    mean, deviation = splits["train"][0].mean(), splits["train"][0].std(correction=0)
    return Data(
        name="digit_modalities",
        meta={"classes": DIGITS * MODALITIES, "shape": plain.meta["shape"]},
        pool=plain.pool,
        **{name: TensorDataset((x - mean) / deviation, y) for name, (x, y) in splits.items()},
    )


def edges(x: Tensor) -> Tensor:
    """Half the sum of absolute differences to the right and to the lower pixel, 0 at the border, of images ``[…, H, W]``."""
    right, lower = torch.zeros_like(x), torch.zeros_like(x)
    right[..., :-1] = x.diff(dim=-1).abs()
    lower[..., :-1, :] = x.diff(dim=-2).abs()
    return (right + lower) / 2


def _shown(split: TensorDataset, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    x, digit = split.tensors
    modality = torch.from_numpy(random.integers(0, MODALITIES, size=len(digit)))
    shown = torch.stack([x, 1 - x, edges(x)])[modality, torch.arange(len(x))]
    return shown, digit + DIGITS * modality
