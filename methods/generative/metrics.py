"""How close generated samples are to real ones, in the features of a classifier trained on the real training data."""

from functools import cache

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from regbench.methods.shared.data import Data

FEATURES = 32


class FeatureNetwork:
    """A classifier (two hidden layers of 64 and 32 units) of a data set; its last hidden layer gives the features.

    It is trained on the training split only, with a fixed seed: every method and every run is judged in the same features.
    """

    def __init__(self, data: Data) -> None:
        x, y = data.train.tensors
        self._network = MLPClassifier(hidden_layer_sizes=(64, FEATURES), max_iter=300, random_state=0)
        self._network.fit(_rows(x), y.numpy())

    def features(self, x: Tensor) -> NDArray[np.float64]:
        """The last hidden layer's activations ``[N, 32]`` of images ``[N, C, H, W]``."""
        hidden = _rows(x)
        for weights, bias in zip(self._network.coefs_[:-1], self._network.intercepts_[:-1], strict=True):
            hidden = np.maximum(hidden @ weights + bias, 0.0)
        return hidden

    def classes(self, x: Tensor) -> NDArray[np.int64]:
        """The predicted classes ``[N]`` of images ``[N, C, H, W]``."""
        return self._network.predict(_rows(x))


@cache
def feature_network(data: Data) -> FeatureNetwork:
    """The feature network of a data set; a process trains it once."""
    return FeatureNetwork(data)


def _rows(x: Tensor) -> NDArray[np.float64]:
    return x.detach().cpu().flatten(1).numpy().astype(np.float64)


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Fréchet distance between the normal distributions fitted to two feature sets ``[N, F]`` and ``[M, F]``.

    ||μ₁ - μ₂||² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Heusel et al., NeurIPS 2017, eq. 6, in other features than Inception's).
    """
    gap = first.mean(0) - second.mean(0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    # tr (Σ₁ Σ₂)^½ from the eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½, which stays real where Σ₁ Σ₂ loses rank.
    root = _square_root(one)
    cross = np.sqrt(np.clip(scipy.linalg.eigvalsh(root @ two @ root), 0.0, None)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2.0 * cross)


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def class_entropy(classes: NDArray[np.int64], count: int) -> float:
    """Entropy in nats of the histogram of predicted classes ``[N]``: at most log ``count``, 0 when all samples look alike."""
    share = np.bincount(classes, minlength=count) / len(classes)
    return float(-(share[share > 0] * np.log(share[share > 0])).sum())


def spread(features: NDArray[np.float64]) -> float:
    """Root of the total variance of features ``[N, F]``: the I-Variance of MaEM-GAN (eq. 15) in these features."""
    return float(np.sqrt(features.var(0).sum()))


def recall(real: NDArray[np.float64], fake: NDArray[np.float64], neighbours: int = 3) -> float:
    """Share of real samples that lie in the estimated support of the generated ones (Kynkäänniemi et al., NeurIPS 2019, eq. 2).

    Args:
        real: features ``[N, F]``.
        fake: features ``[M, F]``.
        neighbours: a generated sample's ball reaches to its k-th nearest other generated sample.
    """
    generated = torch.from_numpy(fake)
    radius = torch.cdist(generated, generated).kthvalue(neighbours + 1, dim=1).values
    return (torch.cdist(torch.from_numpy(real), generated) <= radius).any(1).double().mean().item()
