"""The networks of the classification track. Each takes images ``[B, C, H, W]`` and returns logits ``[B, K]``."""

import math
from typing import Literal

from torch import nn

from regbench.methods.classification.activations import ACTIVATIONS, Activation
from regbench.methods.classification.preactivation import PreActivationResNet
from regbench.methods.classification.resnet import ResNet
from regbench.methods.classification.transformer import VisionTransformer
from regbench.methods.errors import ConfigError

Architecture = Literal[
    "mlp",
    "deep_mlp",
    "tapered_mlp",
    "cnn",
    "tiny_vit",
    "deit_ti",
    "resnet18",
    "resnet34",
    "resnet50",
    "preact_resnet18",
    "wide_resnet34_10",
]

# Hidden widths. "deep_mlp" is the deep narrow network of CRReLU's small benchmark, hard to train with plain ReLU; "tapered_mlp"
# that in which information was first followed through layers (Shwartz-Ziv and Tishby, 2017).
WIDTHS: dict[Architecture, tuple[int, ...]] = {"mlp": (256, 256), "deep_mlp": (24,) * 10, "tapered_mlp": (10, 7, 5, 4, 3)}
# Channels of both convolutions of "cnn", and units of its dense layer.
CNN = (32, 64, 64)
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
CONVOLUTIONAL = ("cnn", *RESNETS, *PREACTIVATION)
# Side of a patch, width, heads and blocks. For images of 32 x 32 pixels, DeiT-Ti's patches are a quarter of its own.
TRANSFORMERS: dict[Architecture, tuple[int, int, int, int]] = {"tiny_vit": (2, 32, 4, 2), "deit_ti": (4, 192, 3, 12)}


def build(architecture: Architecture, shape: tuple[int, ...], classes: int, activation: Activation) -> nn.Module:
    """A network with fresh parameters, with an activation module a layer.

    Perceptrons, transformers and ``cnn`` start from PyTorch's default initialization, residual networks from that of He et al.,
    ``tapered_mlp`` as published with adaptive estimators of information, see ``taper``.

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
    if architecture == "cnn":
        return _cnn(shape, classes, active)
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    for hidden in WIDTHS[architecture]:
        layers += [nn.Linear(inputs, hidden), active()]
        inputs = hidden
    network = nn.Sequential(*layers, nn.Linear(inputs, classes))
    if architecture == "tapered_mlp":
        taper(network, gain=1.0 if activation in ("tanh", "abs") else 2.0)
    return network


def taper(network: nn.Module, gain: float) -> None:
    """Draws the weights of linear layers from a normal distribution of deviation gain / √inputs, cut at two; biases are 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            deviation = gain / math.sqrt(layer.in_features)
            nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            nn.init.zeros_(layer.bias)


def _cnn(shape: tuple[int, ...], classes: int, activation: type[nn.Module]) -> nn.Sequential:
    """Two convolutions of 3 x 3, the second of stride 2, and a dense layer."""
    first, second, units = CNN
    core = second * math.prod((side + 1) // 2 for side in shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 3, padding=1),
        activation(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(core, units),
        activation(),
        nn.Linear(units, classes),
    )
