"""The networks of the classification track. Each takes images ``[B, C, H, W]`` and returns logits ``[B, K]``."""

import math
from typing import Literal

from torch import nn

from regbench.methods.classification.preactivation import PreActivationResNet
from regbench.methods.classification.resnet import ResNet
from regbench.methods.classification.transformer import VisionTransformer
from regbench.methods.errors import ConfigError

Architecture = Literal[
    "mlp", "deep_mlp", "tiny_vit", "deit_ti", "resnet18", "resnet34", "resnet50", "preact_resnet18", "wide_resnet34_10"
]
Activation = Literal["relu", "gelu", "prelu"]

# Hidden widths. "deep_mlp" is the deep narrow network of CRReLU's small benchmark, hard to train with plain ReLU.
WIDTHS: dict[Architecture, tuple[int, ...]] = {"mlp": (256, 256), "deep_mlp": (24,) * 10}
# Blocks in each stage, and whether they are bottlenecks.
RESNETS: dict[Architecture, tuple[tuple[int, ...], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
# Channels of the stem, channels and blocks of each stage.
PREACTIVATION: dict[Architecture, tuple[int, tuple[int, ...], int]] = {
    "preact_resnet18": (64, (64, 128, 256, 512), 2),
    "wide_resnet34_10": (16, (160, 320, 640), 5),
}
CONVOLUTIONAL = (*RESNETS, *PREACTIVATION)
# Side of a patch, width, heads and blocks. For images of 32 x 32 pixels, DeiT-Ti's patches are a quarter of its own.
TRANSFORMERS: dict[Architecture, tuple[int, int, int, int]] = {"tiny_vit": (2, 32, 4, 2), "deit_ti": (4, 192, 3, 12)}
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "prelu": nn.PReLU}


def build(architecture: Architecture, shape: tuple[int, ...], classes: int, activation: Activation) -> nn.Module:
    """A network with fresh parameters, with an activation module a layer.

    Perceptrons and transformers start from PyTorch's default initialization, convolutional networks from that of He et al.

    Args:
        architecture: one of ``WIDTHS``, ``CONVOLUTIONAL`` or ``TRANSFORMERS``.
        shape: shape of one input.
        classes: number of logits.
        activation: one of ``ACTIVATIONS``.

    Raises:
        ConfigError: a transformer cannot cut such inputs into patches, or inputs of a convolutional network are no images.
    """
    active = ACTIVATIONS[activation]
    if architecture in TRANSFORMERS:
        patch, width, heads, depth = TRANSFORMERS[architecture]
        return VisionTransformer(shape, classes, patch=patch, width=width, heads=heads, blocks=depth, activation=active)
    if architecture in CONVOLUTIONAL and len(shape) != 3:
        raise ConfigError(f"architecture {architecture} needs images, not inputs of shape {shape}; use mlp")
    if architecture in RESNETS:
        blocks, bottleneck = RESNETS[architecture]
        return ResNet(shape[0], classes, blocks, bottleneck=bottleneck, activation=active)
    if architecture in PREACTIVATION:
        stem, widths, count = PREACTIVATION[architecture]
        return PreActivationResNet(shape[0], classes, stem=stem, widths=widths, blocks=count, activation=active)
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    for hidden in WIDTHS[architecture]:
        layers += [nn.Linear(inputs, hidden), active()]
        inputs = hidden
    return nn.Sequential(*layers, nn.Linear(inputs, classes))
