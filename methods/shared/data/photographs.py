"""Colour photographs that scikit-image and scikit-learn bring along, as squares of one size."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

# Photographs, and with them two pictures of tissue and one of the sky; of the stereo pair the left one.
PHOTOGRAPHS = {
    "train": ("astronaut", "stereo_motorcycle", "flower.jpg", "retina", "immunohistochemistry", "hubble_deep_field"),
    "validation": ("coffee", "rocket"),
    "test": ("chelsea", "china.jpg"),
}

Picture = TypeVar("Picture")


def photographs(side: int) -> Tensor:
    """The central squares of all photographs, ``[10, 3, side, side]``, bytes, shrunk with anti-aliasing.

    They come in the order of ``PHOTOGRAPHS``; the smallest one is 300 pixels high.
    """
    return torch.stack([colour_square(_photograph(name), side) for names in PHOTOGRAPHS.values() for name in names])


def colour_square(image: Tensor, side: int) -> Tensor:
    """The middle of a colour image ``[3, H, W]``, bytes, resized to ``[3, side, side]`` with anti-aliasing."""
    size = min(image.shape[1:])
    top, left = ((length - size) // 2 for length in image.shape[1:])
    middle = image[None, :, top : top + size, left : left + size].float()
    resized = interpolate(middle, (side, side), mode="bicubic", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def dealt(pictures: Sequence[Picture], counts: Mapping[str, int], split: int) -> dict[str, list[Picture]]:
    """As many pictures for each part as ``counts`` says: in the order given for split 0, in a random order for any other."""
    order = np.random.default_rng(split).permutation(len(pictures)) if split else np.arange(len(pictures))
    places = np.split(order, np.cumsum(list(counts.values()))[:-1])
    return {part: [pictures[place] for place in chosen] for part, chosen in zip(counts, places, strict=True)}


def _photograph(name: str) -> Tensor:
    import skimage.data
    from sklearn.datasets import load_sample_image

    image = load_sample_image(name) if name.endswith(".jpg") else getattr(skimage.data, name)()
    image = image[0] if isinstance(image, tuple) else image
    return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)
