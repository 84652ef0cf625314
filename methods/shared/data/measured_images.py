"""Images that are seen through a linear operator: noisy images to learn from, measurements to restore."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.digits import digits_data
from regbench.methods.shared.data.noisy_images import SIGMA
from regbench.methods.shared.proximal.operators import Blur, CompressedSensing, Measurement, Tomography

# Black pixels around a digit of 8 x 8, into which it is blurred.
MARGIN = 2
VALIDATION, TEST = 100, 200


@dataset("blurred_digits", help="digits on 12x12 blurred by a Gaussian of 1 pixel, noise 0.02: 900 / 100 / 200 images")
def blurred_digits(split: int = 0) -> Data:
    """Noisy and clean digits; measurements ``[N, 1, 16, 16]`` and digits."""
    return _digits("blurred_digits", Blur((1, 12, 12), deviation=1.0), 0.02, split)


@dataset("sensed_digits", help="digits on 12x12, 36 random combinations of the pixels, noise 0.001: 900 / 100 / 200 images")
def sensed_digits(split: int = 0) -> Data:
    """Noisy and clean digits; a quarter as many measurements as pixels ``[N, 36]`` and digits."""
    return _digits("sensed_digits", CompressedSensing((1, 12, 12), measurements=36), 0.001, split)


@dataset("projected_digits", help="digits on 12x12, sums along rays at 6 angles, noise 0.1: 900 / 100 / 200 images")
def projected_digits(split: int = 0) -> Data:
    """Noisy and clean digits; sinograms ``[N, 1, 6, 19]`` and digits."""
    return _digits("projected_digits", Tomography((1, 12, 12), angles=6), 0.1, split)


def _digits(name: str, operator: Measurement, sigma: float, split: int) -> Data:
    plain = digits_data("digits", label_noise=0.0, split=split)
    limits = {"train": None, "validation": VALIDATION, "test": TEST}
    clean = {part: pad(getattr(plain, part).tensors[0][:count], (MARGIN,) * 4) for part, count in limits.items()}
    return measured_data(name, clean, operator, sigma, split=split, pool=plain.pool)


def measured_data(
    name: str, clean: Mapping[str, Tensor], operator: Measurement, sigma: float, *, split: int = 0, pool: int = 0
) -> Data:
    """Noisy images with the clean ones to train with, measurements with them to validate and test with.

    Args:
        name: of the data set.
        clean: images ``[N, C, H, W]`` in [0, 1] of the three splits.
        operator: A.
        sigma: standard deviation of the noise of measurements.
        split: the number of the split, which seeds all noise.
        pool: as in ``Data``.
    """
    splits = {}
    for place, (part, images) in enumerate(clean.items()):
        stream = torch.Generator().manual_seed(3 * split + place)
        exact = images if part == "train" else torch.cat([operator.forward(some) for some in images.split(100)])
        noise = torch.randn(exact.shape, generator=stream)
        splits[part] = TensorDataset(exact + (SIGMA if part == "train" else sigma) * noise, images)
    shape = tuple(clean["train"].shape[1:])
    return Data(name, **splits, meta={"shape": shape, "operator": operator}, pool=pool)
