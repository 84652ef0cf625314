"""The features in which generated images are judged: those of a classifier trained on the real training data."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from regbench.methods.classification.resnet import ResNet
from regbench.methods.shared.augmentation import shift
from regbench.methods.shared.data import KEPT, Data

# Images of at most so many numbers, and codes, are given to a perceptron.
PERCEPTRON = 28 * 28
MLP_WIDTHS = (64, 32)

# The training of the residual network.
EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 30, 128, 0.1, 0.9, 5e-4


class PerceptronFeatures:
    """A classifier with two hidden layers of 64 and 32 units; the last one gives the features.

    It is trained on the training split only, with a fixed seed: every method and every run is judged in the same features.
    """

    def __init__(self, data: Data) -> None:
        x, y = data.train.tensors
        self._network = MLPClassifier(hidden_layer_sizes=MLP_WIDTHS, max_iter=300, random_state=0)
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


class ResNetFeatures:
    """A ResNet-18 for small images; its average-pooled last stage gives 512 features.

    It is trained on the training split only, moved and mirrored, by SGD whose rate falls to 0 over half a cosine. Seed and
    kernels are fixed, so that on one kind of device every method and every run is judged in the same features. Published
    distances are measured in Inception's and do not compare with these.

    Args:
        data: images and labels.
        device: where it is trained and used.
        epochs: passes over the training split.
    """

    def __init__(self, data: Data, device: torch.device, epochs: int = EPOCHS) -> None:
        self._device = device
        with torch.random.fork_rng(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            torch.manual_seed(0)
            self._network = ResNet(data.meta["shape"][0], data.meta["classes"], (2, 2, 2, 2)).to(device)
            x, y = (tensor.to(device) for tensor in data.train.tensors)
            self._fit(x, y, epochs)
        self._network.eval()

    def _fit(self, x: Tensor, y: Tensor, epochs: int) -> None:
        optimizer = torch.optim.SGD(self._network.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
        steps = epochs * -(-len(x) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        moves = torch.Generator(self._device).manual_seed(0)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).to(self._device).split(BATCH):
                # Beyond the border shift puts 0, the middle grey of images in [-1, 1].
                loss = nn.functional.cross_entropy(self._network(shift(x[rows], moves, flip=True)), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    def features(self, x: Tensor) -> NDArray[np.float64]:
        """Features ``[N, 512]`` of images ``[N, C, H, W]``."""
        with torch.no_grad():
            parts = [self._network.features(part.to(self._device)).cpu() for part in x.split(4 * BATCH)]
        return torch.cat(parts).numpy().astype(np.float64)

    def classes(self, x: Tensor) -> NDArray[np.int64]:
        """The predicted classes ``[N]`` of images ``[N, C, H, W]``."""
        with torch.no_grad():
            return np.concatenate([self._network(part.to(self._device)).argmax(1).cpu().numpy() for part in x.split(4 * BATCH)])


@lru_cache(KEPT)
def feature_network(data: Data, device: torch.device) -> PerceptronFeatures | ResNetFeatures:
    """The network that judges images like a data set's; a process trains it once."""
    return PerceptronFeatures(data) if data.train.tensors[0][0].numel() <= PERCEPTRON else ResNetFeatures(data, device)


def _rows(x: Tensor) -> NDArray[np.float64]:
    return x.detach().cpu().flatten(1).numpy().astype(np.float64)
