"""A Gaussian mixture in the shape of handwritten digits: data whose distribution is known."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

COMPONENTS, DEVIATION = 50, 0.15
COUNTS = {"train": 1000, "validation": 1000, "test": 1000}


@dataclass(frozen=True, eq=False, kw_only=True)
class MixtureData(Data):
    """Samples of Σ_k π_k N(μ_k, s² I), with what they are samples of.

    Attributes:
        means: μ_k ``[K, C, H, W]``, float64.
        shares: π_k ``[K]``, float64.
        deviation: s.
    """

    means: Tensor
    shares: Tensor
    deviation: float


@dataset("digit_mixture", help="samples of 50 Gaussians around scikit-learn's digits in [-1, 1], 8x8: 1,000 / 1,000 / 1,000")
def digit_mixture(split: int = 0) -> MixtureData:
    """Images ``[N, 1, 8, 8]`` with their components ``[N]``; the mixture is the same in all splits."""
    means, shares = _components()
    stream = torch.Generator().manual_seed(split)
    splits = {}
    for part, count in COUNTS.items():
        chosen = torch.multinomial(shares, count, replacement=True, generator=stream)
        noise = torch.randn(count, *means.shape[1:], generator=stream, dtype=means.dtype)
        splits[part] = TensorDataset((means[chosen] + DEVIATION * noise).float(), chosen)
    meta = {"shape": tuple(means.shape[1:]), "classes": COMPONENTS}
    return MixtureData(
        name="digit_mixture",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        meta=meta,
        means=means,
        shares=shares,
        deviation=DEVIATION,
    )


@cache
def _components() -> tuple[Tensor, Tensor]:
    """The centres of k-means of all digits, and the shares of its clusters."""
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    images = load_digits().data / 8 - 1
    found = KMeans(COMPONENTS, random_state=0, n_init=2).fit(images)
    counts = torch.bincount(torch.from_numpy(found.labels_)).double()
    return torch.from_numpy(found.cluster_centers_).reshape(-1, 1, 8, 8), counts / len(images)
