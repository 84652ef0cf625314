"""A generated regression whose input tells nothing of either protected attribute, and much of both together."""

import numpy as np

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.protected import intersections, protected_data

TRAIN, VALIDATION, TEST = 2000, 1000, 1000


@dataset(
    "gerrymandering", help="generated: 5 inputs, a binary and a continuous protected attribute: 2,000 / 1,000 / 1,000 rows"
)
def gerrymandering(split: int = 0) -> Data:
    """Targets are y = 0.8 z_1 + 0.5 z_2² - 0.5 + 0.9 x_5 + 0.4 ε from z_1 … z_4 and x_5 = 0.8 e + 0.6 ξ.

    e is 1 where a and b, a fair bit and a normal variable cut off at ±3, are both positive or both not, else -1: a and y are
    independent, b and y are, but not (a, b) and y. Groups are the four combinations of a with b above its median.
    """
    draw = np.random.default_rng(split)
    n = TRAIN + VALIDATION + TEST
    a, b = draw.integers(2, size=n), draw.standard_normal(n).clip(-3, 3)
    z, xi, noise = draw.standard_normal((n, 4)), draw.standard_normal(n), draw.standard_normal(n)
    x = np.column_stack([z, 0.8 * np.where((a > 0) == (b > 0), 1.0, -1.0) + 0.6 * xi])
    y = 0.8 * z[:, 0] + 0.5 * z[:, 1] ** 2 - 0.5 + 0.9 * x[:, 4] + 0.4 * noise
    starts = np.split(np.arange(n), [TRAIN, TRAIN + VALIDATION])
    return protected_data(
        "gerrymandering",
        "real",
        dict(zip(("train", "validation", "test"), starts, strict=True)),
        x=x,
        attributes={"a": a[:, None].astype(np.float64), "b": b[:, None]},
        y=y,
        groups=intersections(a, b > np.median(b)),
    )
