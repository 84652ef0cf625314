"""The networks of the mixed-modality track: classifiers, and the features that a policy looks at. Images: ``[B, C, H, W]``."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from regbench.methods.classification.resnet import ResNet

Architecture = Literal["cnn", "resnet10", "resnet18"]

# Residual blocks in each stage.
RESNETS: dict[Architecture, tuple[int, ...]] = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2)}


def build_classifier(architecture: Architecture, shape: Sequence[int], classes: int) -> nn.Module:
    """A classifier with fresh parameters: images of this shape to logits ``[B, K]``."""
    if architecture in RESNETS:
        return ResNet(shape[0], classes, RESNETS[architecture])
    return nn.Sequential(
        *_convolution(shape[0], 16, 1),
        *_convolution(16, 32, 2),
        nn.Flatten(),
        nn.Linear(32 * _half(shape[1]) * _half(shape[2]), 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def build_features(architecture: Architecture, shape: Sequence[int]) -> tuple[nn.Module, int]:
    """A lighter network beside such a classifier, images to features ``[B, F]``, and F. Beside any ResNet: ResNet-10's."""
    if architecture in RESNETS:
        network = ResNet(shape[0], 1, RESNETS["resnet10"])
        return network.features, network.width
    width = 32
    layers = nn.Sequential(
        *_convolution(shape[0], 8, 2), nn.Flatten(), nn.Linear(8 * _half(shape[1]) * _half(shape[2]), width), nn.ReLU()
    )
    return layers, width


def _convolution(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()


def _half(size: int) -> int:
    """What a convolution of stride 2 leaves of a height or width."""
    return (size + 1) // 2
