"""Colour photographs that scikit-image and scikit-learn bring along; images of several sizes in one tensor."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

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
    return torch.stack([colour_square(planes(photograph(name)), side) for names in PHOTOGRAPHS.values() for name in names])


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


def photograph(name: str) -> np.ndarray:
    """A photograph of scikit-image, or with its ending of scikit-learn, bytes ``[H, W, 3]``; of a stereo pair the left one."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    image = load_sample_image(name) if name.endswith(".jpg") else getattr(skimage.data, name)()
    return image[0] if isinstance(image, tuple) else image


def planes(image: np.ndarray) -> Tensor:
    """An image ``[H, W, 3]`` as a tensor ``[3, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def of_one_size(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Images ``[C, H, W]`` as ``[N, C, H, W]`` of the largest height and width, 0 beyond, and their sizes ``[N, 2]``."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = sizes.max(0).values.tolist()
    return torch.stack([pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]), sizes
