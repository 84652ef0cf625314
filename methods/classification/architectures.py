"""The networks of the classification track. Each takes images ``[B, C, H, W]`` and returns logits ``[B, K]``."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from regbench.methods.classification.resnet import ResNet
from regbench.methods.errors import ConfigError

Architecture = Literal["mlp", "deep_mlp", "tiny_vit", "resnet18", "resnet34", "resnet50"]
Activation = Literal["relu", "gelu", "prelu"]

# Hidden widths. "deep_mlp" is the deep narrow network of CRReLU's small benchmark, hard to train with plain ReLU.
WIDTHS: dict[Architecture, tuple[int, ...]] = {"mlp": (256, 256), "deep_mlp": (24,) * 10}
# Blocks in each stage, and whether they are bottlenecks.
RESNETS: dict[Architecture, tuple[tuple[int, ...], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "prelu": nn.PReLU}

# The tiny vision transformer.
PATCH, WIDTH, HEADS, BLOCKS, MLP_RATIO = 2, 32, 4, 2, 4


def build(architecture: Architecture, shape: tuple[int, ...], classes: int, activation: Activation) -> nn.Module:
    """A network with fresh parameters (PyTorch's default initialization, but in ResNets), with an activation module a layer.

    Args:
        architecture: one of ``WIDTHS`` or ``RESNETS``, or ``tiny_vit``.
        shape: shape of one input.
        classes: number of logits.
        activation: one of ``ACTIVATIONS``.

    Raises:
        ConfigError: ``tiny_vit`` cannot cut such inputs into patches, or inputs of a ResNet are no images.
    """
    if architecture == "tiny_vit":
        return TinyViT(shape, classes, activation)
    if architecture in RESNETS:
        if len(shape) != 3:
            raise ConfigError(f"architecture {architecture} needs images, not inputs of shape {shape}; use mlp")
        blocks, bottleneck = RESNETS[architecture]
        return ResNet(shape[0], classes, blocks, bottleneck=bottleneck, activation=ACTIVATIONS[activation])
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(shape)
    for hidden in WIDTHS[architecture]:
        layers += [nn.Linear(width, hidden), ACTIVATIONS[activation]()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, classes))


class TinyViT(nn.Module):
    """A vision transformer (Dosovitskiy et al., ICLR 2021) small enough for 8 x 8 images.

    Patches of 2 x 2 pixels and a class token, with learned positions, pass through two pre-norm blocks; the class token's last
    state gives the logits.

    Args:
        shape: ``[C, H, W]`` of one image, H and W even.
        classes: number of logits K.
        activation: of the blocks' MLPs.

    Raises:
        ConfigError: the images have another shape.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, activation: Activation) -> None:
        super().__init__()
        if len(shape) != 3 or shape[1] % PATCH or shape[2] % PATCH:
            raise ConfigError(
                f"architecture tiny_vit needs images of even height and width, not inputs of shape {shape}; use mlp"
            )
        channels, height, width = shape
        tokens = 1 + (height // PATCH) * (width // PATCH)
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, WIDTH), std=0.02))
        self.blocks = nn.Sequential(*(Block(activation) for _ in range(BLOCKS)))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of images ``[B, C, H, W]``."""
        patches = self.patches(x).flatten(2).transpose(1, 2)  # [B, T - 1, D]
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)  # [B, T, D]
        return self.head(self.blocks(tokens + self.positions)[:, 0])


class Block(nn.Module):
    """A pre-norm transformer block on ``[B, T, D]``: x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        hidden = MLP_RATIO * WIDTH
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), SelfAttention())
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of the shape of ``x``."""
        x = x + self.attention(x)
        return x + self.mlp(x)


class SelfAttention(nn.Module):
    """Multi-head self-attention on ``[B, T, D]``; written out, because PyTorch's fused kernels have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes tokens; of the shape of ``x``."""
        # [B, T, 3 D] -> three of [B, heads, T, D / heads]
        q, k, v = self.projections(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).softmax(3)  # [B, heads, T, T]
        return self.output((attention @ v).transpose(1, 2).flatten(2))
