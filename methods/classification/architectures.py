"""The networks of the classification track. Each takes images ``[B, C, H, W]`` and returns logits ``[B, K]``."""

import math
from collections.abc import Callable
from typing import Literal

from torch import nn

Architecture = Literal["mlp", "deep_mlp"]
Activation = Callable[[], nn.Module]

# Hidden widths. "deep_mlp" is the deep narrow network of CRReLU's small benchmark, hard to train with plain ReLU.
WIDTHS: dict[Architecture, tuple[int, ...]] = {"mlp": (256, 256), "deep_mlp": (24,) * 10}


def build(architecture: Architecture, shape: tuple[int, ...], classes: int, activation: Activation) -> nn.Sequential:
    """A network with fresh parameters (PyTorch's default initialization).

    Args:
        architecture: one of ``WIDTHS``.
        shape: shape of one input.
        classes: number of logits.
        activation: makes a new activation module for each hidden layer.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(shape)
    for hidden in WIDTHS[architecture]:
        layers += [nn.Linear(width, hidden), activation()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, classes))
