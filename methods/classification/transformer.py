"""Vision transformers (Dosovitskiy et al., ICLR 2021)."""

import math

import torch
from torch import Tensor, nn

from regbench.methods.errors import ConfigError

MLP_RATIO = 4


class VisionTransformer(nn.Module):
    """Images ``[B, C, H, W]`` to logits ``[B, K]``: square patches and a class token, with learned positions, through blocks.

    The class token's last state gives the logits. DeiT-Ti (Touvron et al., ICML 2021) has twelve blocks of width 192, with
    three heads, on patches of 16 x 16 pixels. Parameters start from PyTorch's default initialization.

    Args:
        shape: ``[C, H, W]`` of one image, H and W multiples of the patch.
        classes: number of classes K.
        patch: side of a patch in pixels.
        width: of a token, a multiple of the heads.
        heads: of each attention.
        blocks: how many.
        activation: of the blocks' MLPs.

    Raises:
        ConfigError: the images have another shape.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        *,
        patch: int,
        width: int,
        heads: int,
        blocks: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[1] % patch or shape[2] % patch:
            raise ConfigError(
                f"a transformer on patches of {patch} x {patch} needs images of such height and width, "
                f"not inputs of shape {shape}; use mlp"
            )
        channels, height, across = shape
        tokens = 1 + (height // patch) * (across // patch)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, width), std=0.02))
        self.blocks = nn.Sequential(*(Block(width, heads, activation) for _ in range(blocks)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of images ``[B, C, H, W]``."""
        patches = self.patches(x).flatten(2).transpose(1, 2)  # [B, T - 1, D]
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)  # [B, T, D]
        return self.head(self.blocks(tokens + self.positions)[:, 0])


class Block(nn.Module):
    """A pre-norm transformer block on ``[B, T, D]``: x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, width: int, heads: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), SelfAttention(width, heads))
        self.mlp = nn.Sequential(nn.LayerNorm(width), *perceptron(width, activation))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of the shape of ``x``."""
        x = x + self.attention(x)
        return x + self.mlp(x)


def perceptron(width: int, activation: type[nn.Module]) -> nn.Sequential:
    """What a block applies to each token ``[..., D]``: one hidden layer, ``MLP_RATIO`` times as wide."""
    return nn.Sequential(nn.Linear(width, MLP_RATIO * width), activation(), nn.Linear(MLP_RATIO * width, width))


class SelfAttention(nn.Module):
    """Multi-head self-attention on ``[B, T, D]``; written out, because PyTorch's fused kernels have no second derivative."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projections = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes tokens; of the shape of ``x``."""
        # [B, T, 3 D] -> three of [B, heads, T, D / heads]
        q, k, v = self.projections(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3)  # [B, heads, T, T]
        return self.output((attention @ v).transpose(1, 2).flatten(2))
