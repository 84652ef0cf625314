"""The networks of the classification track. Each takes images ``[B, C, H, W]`` and returns logits ``[B, K]``."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import nn

from regbench.methods.classification.activations import ACTIVATIONS, Activation
from regbench.methods.classification.preactivation import PreActivationResNet
from regbench.methods.classification.resnet import ResNet
from regbench.methods.classification.transformer import VisionTransformer
from regbench.methods.errors import ConfigError
from regbench.methods.shared import factories

# Hidden widths. "deep_mlp" is the deep narrow network of CRReLU's small benchmark, hard to train with plain ReLU; "tapered_mlp"
# that in which information was first followed through layers (Shwartz-Ziv and Tishby, 2017).
WIDTHS = {"mlp": (256, 256), "deep_mlp": (24,) * 10, "tapered_mlp": (10, 7, 5, 4, 3)}
# Channels of both convolutions of "cnn", and units of its dense layer.
CNN = (32, 64, 64)
# Blocks in each stage, and whether they are bottlenecks.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
# Channels of the stem, channels and blocks of each stage.
PREACTIVATION = {
    "preact_resnet18": (64, (64, 128, 256, 512), 2),
    "wide_resnet34_10": (16, (160, 320, 640), 5),
}
CONVOLUTIONAL = ("cnn", *RESNETS, *PREACTIVATION)
# Side of a patch, width, heads and blocks. For images of 32 x 32 pixels, DeiT-Ti's patches are a quarter of its own.
TRANSFORMERS = {"tiny_vit": (2, 32, 4, 2), "deit_ti": (4, 192, 3, 12)}
OWN = (*WIDTHS, *CONVOLUTIONAL, *TRANSFORMERS)
factories.reserve(*OWN)

Architecture = Annotated[str, AfterValidator(lambda name: factories.require_known(name, OWN))]
"""One of ``OWN``, the name of one that a plugin registers, ``module:factory``, ``timm:NAME`` or ``torchvision:NAME``."""


def build(
    architecture: Architecture,
    shape: tuple[int, ...],
    classes: int,
    activation: Activation,
    settings: Mapping[str, Any] | None = None,
    *,
    tokens: bool = False,
) -> nn.Module:
    """A network with fresh parameters, with an activation module a layer.

    Perceptrons, transformers and ``cnn`` start from PyTorch's default initialization, residual networks from that of He et al.,
    ``tapered_mlp`` as published with adaptive estimators of information, see ``taper``.

    Args:
        architecture: one of ``OWN``, or another one's name, see ``Architecture``.
        shape: shape of one input.
        classes: number of logits.
        activation: one of ``ACTIVATIONS``; of the others only if their factory has an argument of that name.
        settings: keyword settings of the others' factories.
        tokens: whether inputs are numbers of tokens, which none of ``OWN`` takes.

    Raises:
        ConfigError: a transformer cannot cut such inputs into patches, inputs of a convolutional network are no images, or what
            is wrong with another one, see ``factories.make``.
    """
    if architecture not in OWN:
        return _foreign(
            architecture, shape, classes, activation, dict(settings or {}), torch.int64 if tokens else torch.float32
        )
    if tokens:
        raise ConfigError(f"architecture {architecture} does not take texts: use hf:FOLDER, or a network of your own")
    if settings:
        raise ConfigError(f"architecture_settings are for networks of your own: {architecture} has none")
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


def _foreign(
    name: str, shape: tuple[int, ...], classes: int, activation: Activation, settings: dict[str, Any], dtype: torch.dtype
) -> nn.Module:
    if factories.takes(name, "activation"):
        settings["activation"] = ACTIVATIONS[activation]
    elif activation != "relu":
        raise ConfigError(f"architecture {name} has activations of its own: its factory has no argument `activation`")
    return factories.make(name, shape, classes, settings, dtype)


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
