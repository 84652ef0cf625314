"""Colour photographs that scikit-image and scikit-learn bring along, as squares of one size."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

# Photographs, and with them two pictures of tissue and one of the sky; of the stereo pair the left one.
PHOTOGRAPHS = {
    "train": ("astronaut", "stereo_motorcycle", "flower.jpg", "retina", "immunohistochemistry", "hubble_deep_field"),
    "validation": ("coffee", "rocket"),
    "test": ("chelsea", "china.jpg"),
}

Picture = TypeVar("Picture")


def photographs(side: int) -> list[np.ndarray]:
    """The central squares of all photographs, ``[side, side, 3]``, in [0, 1], shrunk with anti-aliasing.

    They come in the order of ``PHOTOGRAPHS``; the smallest one is 300 pixels high.
    """
    return [colour_square(_photograph(name), side) for names in PHOTOGRAPHS.values() for name in names]


def colour_square(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of a colour image ``[H, W, 3]``, resized to ``[side, side, 3]`` with anti-aliasing."""
    from skimage.transform import resize

    size = min(image.shape[:2])
    top, left = ((length - size) // 2 for length in image.shape[:2])
    return resize(image[top : top + size, left : left + size], (side, side), anti_aliasing=True)


def dealt(pictures: Sequence[Picture], counts: Mapping[str, int], split: int) -> dict[str, list[Picture]]:
    """As many pictures for each part as ``counts`` says: in the order given for split 0, in a random order for any other."""
    order = np.random.default_rng(split).permutation(len(pictures)) if split else np.arange(len(pictures))
    places = np.split(order, np.cumsum(list(counts.values()))[:-1])
    return {part: [pictures[place] for place in chosen] for part, chosen in zip(counts, places, strict=True)}


def _photograph(name: str) -> np.ndarray:
    import skimage.data
    from skimage.util import img_as_float
    from sklearn.datasets import load_sample_image

    image = load_sample_image(name) if name.endswith(".jpg") else getattr(skimage.data, name)()
    return img_as_float(image[0] if isinstance(image, tuple) else image)
