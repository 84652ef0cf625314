"""Samples to model the density of: one Gaussian, a ring of Gaussians, codes of digits, and images by halves of their classes.

Training splits hold ``x [N, …]``, float32, and a class ``[N]``; validation and test splits ``x`` and whether a row is an
outlier ``[N]``, bool: a sample of another distribution. ``meta["grid"]``, for integration, are limits within
which nearly all mass lies.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.cifar import cifar10
from regbench.methods.shared.data.digit_images import digit_images
from regbench.methods.shared.data.fashion_mnist import fashion_mnist

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

NOISE_SEED = 0
RING = 8
# Classes below this one are learned, the others are outliers.
FIRST_OUTLIER = 5
CODES = 16


def _judged(inliers: np.ndarray, outliers: np.ndarray) -> TensorDataset:
    x = torch.tensor(np.concatenate([inliers, outliers]), dtype=torch.float32)
    return TensorDataset(x, torch.arange(len(x)) >= len(inliers))


def gaussian_mean_data(mean: float, *, split: int = 0) -> Data:
    """Samples of N(mean, 1), 50,000 / 2,000 / 2,000; as many outliers of the validation and test split are of N(mean, 9)."""
    random = np.random.default_rng([split, round(mean)])
    train = torch.tensor(random.normal(mean, 1.0, (50_000, 1)), dtype=torch.float32)
    splits = {
        name: _judged(random.normal(mean, 1.0, (2000, 1)), random.normal(mean, 3.0, (2000, 1)))
        for name in ("validation", "test")
    }
    learned = TensorDataset(train, torch.zeros(len(train), dtype=torch.int64))
    meta = {"shape": (1,), "classes": 1, "mean": mean, "grid": (-20.0, 20.0)}
    return Data(f"gaussian_mean_{mean:g}", train=learned, meta=meta, pool=0, **splits)


@dataset("gaussian_mean_1", help="samples of N(1, 1): 50,000 / 2,000 / 2,000, and outliers")
def gaussian_mean_1(split: int = 0) -> Data:
    """A mean close to that of standard normal noise."""
    return gaussian_mean_data(1.0, split=split)


@dataset("gaussian_mean_2", help="samples of N(2, 1): 50,000 / 2,000 / 2,000, and outliers")
def gaussian_mean_2(split: int = 0) -> Data:
    """A mean at which standard normal noise begins to fail."""
    return gaussian_mean_data(2.0, split=split)


@dataset("gaussian_mean_3", help="samples of N(3, 1): 50,000 / 2,000 / 2,000, and outliers")
def gaussian_mean_3(split: int = 0) -> Data:
    """A mean that wants noise of standard deviation 2."""
    return gaussian_mean_data(3.0, split=split)


@dataset("gaussian_mean_5", help="samples of N(5, 1): 50,000 / 2,000 / 2,000, and outliers")
def gaussian_mean_5(split: int = 0) -> Data:
    """A mean that wants noise of standard deviation 3."""
    return gaussian_mean_data(5.0, split=split)


@dataset("gaussian_ring", help="a ring of eight Gaussians in the plane: 4,000 / 2,000 / 2,000 samples, and uniform outliers")
def gaussian_ring(split: int = 0) -> Data:
    """Radius 2, standard deviation 0.2; 1,000 outliers in validation and test are uniform on [-4, 4]²."""
    random = np.random.default_rng(split)

    def ring(count: int) -> tuple[np.ndarray, np.ndarray]:
        component = random.integers(RING, size=count)
        angle = 2 * np.pi * component / RING
        return np.stack([2 * np.cos(angle), 2 * np.sin(angle)], axis=1) + random.normal(0, 0.2, (count, 2)), component

    x, component = ring(4000)
    train = TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(component))
    splits = {name: _judged(ring(2000)[0], random.uniform(-4, 4, (1000, 2))) for name in ("validation", "test")}
    return Data("gaussian_ring", train=train, meta={"shape": (2,), "classes": RING, "grid": (-6.0, 6.0)}, pool=0, **splits)


@dataset(
    "digit_codes", help="principal components of scikit-learn's digits: 0 to 4 are learned, 5 to 9 are outliers; 16 numbers"
)
def digit_codes(split: int = 0) -> Data:
    """The splits of ``digit_images``; 16 components of the learned digits, whitened, keep 86 % of their variance."""
    data = digit_images(split)
    encoder = digit_encoder(data)
    x, y = data.train.tensors
    learned = y < FIRST_OUTLIER

    def codes(x: torch.Tensor) -> np.ndarray:
        return encoder.transform(x.flatten(1).double().numpy())

    train = TensorDataset(torch.tensor(codes(x[learned]), dtype=torch.float32), y[learned])
    splits = {}
    for name, part in (("validation", data.validation), ("test", data.test)):
        x, y = part.tensors
        splits[name] = _judged(codes(x[y < FIRST_OUTLIER]), codes(x[y >= FIRST_OUTLIER]))
    return Data("digit_codes", train=train, meta={"shape": (CODES,), "classes": FIRST_OUTLIER}, pool=data.pool, **splits)


def digit_encoder(digits: Data) -> "PCA":
    """What makes codes of images, one a row, and images of codes; fitted to the learned ones of ``digit_images``."""
    from sklearn.decomposition import PCA

    x, y = digits.train.tensors
    return PCA(CODES, whiten=True, random_state=0).fit(x[y < FIRST_OUTLIER].flatten(1).double().numpy())


def image_halves(name: str, data: Data) -> Data:
    """Images of the first five of ten classes to learn, the others as outliers.

    Bytes are spread over their interval by uniform noise, the same in every run, so that images have a density, and scaled to
    [-1, 1].

    Args:
        name: of the data set.
        data: images ``[N, C, H, W]`` in [0, 1], multiples of 1/255.
    """
    generator = torch.Generator().manual_seed(NOISE_SEED)

    def spread(x: torch.Tensor) -> torch.Tensor:
        return (255 * x + torch.rand(x.shape, generator=generator)) / 128 - 1

    x, y = data.train.tensors
    train = TensorDataset(spread(x[y < FIRST_OUTLIER]), y[y < FIRST_OUTLIER])
    splits = {}
    for split, (x, y) in (("validation", data.validation.tensors), ("test", data.test.tensors)):
        order = (y >= FIRST_OUTLIER).long().argsort(stable=True)
        splits[split] = TensorDataset(spread(x[order]), y[order] >= FIRST_OUTLIER)
    return Data(name, train=train, meta={"shape": data.meta["shape"], "classes": FIRST_OUTLIER}, pool=0, **splits)


@dataset("fashion_mnist_halves", help="five classes of Fashion-MNIST to learn, five as outliers", folder="fashion_mnist")
def fashion_mnist_halves() -> Data:
    """Images ``[N, 1, 28, 28]`` with the splits of ``fashion_mnist``."""
    return image_halves("fashion_mnist_halves", fashion_mnist())


@dataset("cifar10_halves", help="five classes of CIFAR-10 to learn, five as outliers", folder="cifar-10-batches-bin")
def cifar10_halves() -> Data:
    """Images ``[N, 3, 32, 32]`` with the splits of ``cifar10``."""
    return image_halves("cifar10_halves", cifar10())
