"""Scenes with known sources, embedded: a coloured shape before a wall on a floor, in the manner of Shapes3D."""

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

# How many values each source has, in the order of its columns.
SOURCES = {"floor_hue": 8, "wall_hue": 8, "object_hue": 8, "size": 4, "shape": 3}
SIDE, HORIZON = 16, 10
# Points of a pixel's side at which shapes are sampled.
OVERSAMPLING = 4
SMALLEST, LARGEST = 2.5, 5.5
# Of the object beside wall and floor, so that its outline is seen where it has their hue.
BRIGHTNESS = 0.6
HELD_OUT = 1000


@dataset("scenes", help="a shape before wall and floor, 16x16 RGB, 5 sources: 4,144 / 1,000 / 1,000 images")
def scenes(split: int = 0) -> Data:
    """Images ``[N, 3, 16, 16]`` in [0, 1] and the numbers of their sources' values ``[N, 5]``, int64."""
    return scenes_data("scenes", SOURCES, HELD_OUT, split=split)


def scenes_data(name: str, counts: dict[str, int], held_out: int, *, split: int = 0) -> Data:
    """All combinations of the sources' values, in three splits of random combinations.

    Args:
        name: of the data set.
        counts: how many values each source has, named as ``SOURCES``; at most three shapes.
        held_out: images to validate, and as many to test.
        split: the number of the split.
    """
    values = torch.tensor(list(product(*(range(count) for count in counts.values()))))
    order = torch.from_numpy(np.random.default_rng(split).permutation(len(values)))
    images = render(values, counts)
    rows = dict(zip(("test", "validation", "train"), order.tensor_split([held_out, 2 * held_out]), strict=True))
    splits = {part: TensorDataset(images[chosen], values[chosen]) for part, chosen in rows.items()}
    return Data(name, **splits, meta={"shape": (3, SIDE, SIDE), "sources": tuple(counts)}, pool=len(values))


def render(values: Tensor, counts: dict[str, int]) -> Tensor:
    """Images ``[N, 3, 16, 16]`` of sources' values ``[N, 5]``.

    Hues are evenly spaced on the circle of pure colours, so that the last is as near to the first as to the one before. The
    object stands in the middle, darker than wall and floor, its outline anti-aliased.
    """
    floor, wall, thing = (hues(values[:, place], count) for place, count in enumerate(list(counts.values())[:3]))
    outlines = torch.stack(
        [outline(shape, size, counts["size"]) for size, shape in product(*map(range, list(counts.values())[3:]))]
    )
    inside = outlines[values[:, 3] * counts["shape"] + values[:, 4]][:, None]  # [N, 1, 16, 16]
    below = (torch.arange(SIDE) >= HORIZON)[:, None].expand(SIDE, SIDE)
    background = torch.where(below, floor[:, :, None, None], wall[:, :, None, None])
    return inside * BRIGHTNESS * thing[:, :, None, None] + (1 - inside) * background


def hues(places: Tensor, count: int) -> Tensor:
    """Pure colours ``[N, 3]`` at places out of ``count`` on the colour circle."""
    angle = 6.0 * places[:, None] / count
    # Each channel is 1 within one sixth of the circle from its own hue, 0 beyond two sixths, and linear in between.
    distance = (angle - torch.tensor([0.0, 2.0, 4.0])).abs()
    return (2 - torch.minimum(distance, 6 - distance)).clamp(0, 1)


def outline(shape: int, size: int, sizes: int) -> Tensor:
    """The share of each pixel that is inside a square (0), a disc (1) or a triangle (2), ``[16, 16]``."""
    radius = SMALLEST + (LARGEST - SMALLEST) * size / max(sizes - 1, 1)
    fine = (torch.arange(SIDE * OVERSAMPLING) + 0.5) / OVERSAMPLING - SIDE / 2
    y, x = fine[:, None], fine[None, :]
    if shape == 0:
        inside = torch.maximum(x.abs(), y.abs()) <= 0.85 * radius
    elif shape == 1:
        inside = x.square() + y.square() <= radius**2
    else:
        inside = (y <= radius) & (2 * x.abs() <= y + radius)
    return inside.float().unflatten(0, (SIDE, -1)).unflatten(2, (SIDE, -1)).mean((1, 3))
