"""The networks of the certified track: images ``[B, C, H, W]`` in [0, 1] to logits ``[B, K]``, one network a part."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from regbench.methods.classification import architectures
from regbench.methods.classification.resnet import Residual
from regbench.methods.shared.data import Data

Architecture = Literal["mlp", "resnet110"]

# ResNet-110 for 32 x 32 images (He et al., CVPR 2016, section 4.2): three stages of 18 blocks, of these widths.
STAGES, BLOCKS = (16, 32, 64), 18


class Standardize(nn.Module):
    """Subtracts a channel's mean and divides by its deviation; in the network, so that noise is on the scale of the data."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, images: Tensor) -> None:
        """Takes both from images ``[N, C, H, W]``."""
        super().__init__()
        self.register_buffer("mean", images.mean((0, 2, 3))[:, None, None])
        self.register_buffer("deviation", images.std((0, 2, 3), correction=0)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Standardized images, of the shape of ``x``."""
        return (x - self.mean) / self.deviation


def build(architecture: Architecture, data: Data) -> nn.Module:
    """A network with fresh parameters, of two hidden layers of width 256 or of 110 layers, for the images of a data set."""
    shape, classes = data.meta["shape"], data.meta["classes"]
    network = architectures.build("mlp", shape, classes, "relu") if architecture == "mlp" else _resnet110(shape[0], classes)
    return nn.Sequential(Standardize(data.train.tensors[0]), network)


def _resnet110(channels: int, classes: int) -> nn.Sequential:
    width = STAGES[0]
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for stage in STAGES:
        for _ in range(BLOCKS):
            layers.append(Residual(width, stage, 1 if width == stage else 2, bottleneck=False, activation=nn.ReLU))
            width = stage
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


class PartClassifiers(nn.ModuleList):
    """Parts of images ``[P, B, C, H, W]`` to logits ``[P, B, K]``: network p sees part p only."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__(networks)

    def forward(self, parts: Tensor) -> Tensor:
        """Logits of each part."""
        return torch.stack([network(part) for network, part in zip(self, parts, strict=True)])
