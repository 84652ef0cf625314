"""Invertible networks that split an image into a smaller one and the rest (Xiao et al., ECCV 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu


def haar(x: Tensor) -> Tensor:
    """Means and differences of 2 x 2 pixels over 4: ``[N, C, H, W]`` to ``[N, 4C, H/2, W/2]``, all means a, then h, v, d.

    a = (x₁₁ + x₁₂ + x₂₁ + x₂₂)/4, h = (x₁₁ - x₁₂ + x₂₁ - x₂₂)/4, v = (x₁₁ + x₁₂ - x₂₁ - x₂₂)/4, d = (x₁₁ - x₁₂ - x₂₁ + x₂₂)/4.
    Not orthonormal: the sum of squares becomes a quarter.
    """
    top, bottom = x[:, :, ::2], x[:, :, 1::2]
    (p, q), (r, s) = ((rows[..., ::2], rows[..., 1::2]) for rows in (top, bottom))
    return torch.cat([p + q + r + s, p - q + r - s, p + q - r - s, p - q - r + s], 1) / 4


def inverse_haar(u: Tensor) -> Tensor:
    """``[N, 4C, H, W]`` to ``[N, C, 2H, 2W]``."""
    a, h, v, d = u.chunk(4, 1)
    rows = (torch.stack([a + h + v + d, a - h + v - d], 4), torch.stack([a + h - v - d, a - h - v + d], 4))
    return torch.stack([row.flatten(3) for row in rows], 3).flatten(2, 3)


class DenseBlock(nn.Module):
    """3 x 3 convolutions with leaky rectifiers, each of which sees the input and all before; the last one starts at zero.

    Args:
        inputs: channels.
        outputs: channels.
        growth: channels of the others.
        depth: convolutions; 5 as released.
    """

    def __init__(self, inputs: int, outputs: int, growth: int = 32, depth: int = 5) -> None:
        super().__init__()
        widths = [growth] * (depth - 1) + [outputs]
        layers = [nn.Conv2d(inputs + place * growth, width, 3, padding=1) for place, width in enumerate(widths)]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            with torch.no_grad():
                layer.weight.mul_(0.0 if layer is layers[-1] else 0.1)
                layer.get_parameter("bias").zero_()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs, H, W]`` to ``[N, outputs, H, W]``."""
        for layer in self.layers[:-1]:
            x = torch.cat([x, leaky_relu(layer(x), 0.2)], 1)
        return self.layers[-1](x)


class Coupling(nn.Module):
    """y₁ = x₁ + F(x₂), y₂ = x₂ ⊙ e^s + G(y₁), s = 2 sigmoid(H(y₁)) - 1, for the first channels x₁ and the others x₂.

    Args:
        f: from the others to the first.
        g: from the first to the others.
        h: from the first to the others.
        first: how many the first channels are.
    """

    def __init__(self, f: nn.Module, g: nn.Module, h: nn.Module, first: int = 3) -> None:
        super().__init__()
        self.f, self.g, self.h, self.first = f, g, h, first

    def log_scale(self, y1: Tensor) -> Tensor:
        """s, whose sum over a sample is the logarithm of the determinant."""
        return 2 * torch.sigmoid(self.h(y1)) - 1

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]``."""
        x1, x2 = x[:, : self.first], x[:, self.first :]
        y1 = x1 + self.f(x2)
        return torch.cat([y1, x2 * self.log_scale(y1).exp() + self.g(y1)], 1)

    def inverse(self, y: Tensor) -> Tensor:
        """``[N, C, H, W]``."""
        y1, y2 = y[:, : self.first], y[:, self.first :]
        x2 = (y2 - self.g(y1)) * (-self.log_scale(y1)).exp()
        return torch.cat([y1 - self.f(x2), x2], 1)


class InvertibleRescaler(nn.Module):
    """f: (x, z_d) ↔ (y, z_u). One level for a factor of 2, two for 4: a Haar squeeze, then coupling blocks.

    The last squeeze is followed by ``extra`` channels z_d, which come last, so that y, the first three channels, meets them in
    F alone. Without extra channels it is IRN's network, with its initial values the Haar transform.

    Args:
        scale: 2 or 4.
        blocks: in each level.
        growth: of dense blocks.
        depth: of dense blocks.
        extra: c_d.
    """

    def __init__(self, scale: int, blocks: int = 8, growth: int = 32, depth: int = 5, extra: int = 0) -> None:
        super().__init__()
        self.extra, self.scale = extra, scale
        channels = 3
        self.levels: list[list[Coupling]] = []
        for level in range(scale.bit_length() - 1):
            channels = 4 * channels + (extra if 2 ** (level + 1) == scale else 0)
            self.levels.append([self._block(channels, growth, depth) for _ in range(blocks)])
        self.blocks = nn.ModuleList(block for level in self.levels for block in level)
        self.latent = channels - 3

    @staticmethod
    def _block(channels: int, growth: int, depth: int) -> Coupling:
        rest = channels - 3
        f, g, h = (DenseBlock(*ends, growth, depth) for ends in ((rest, 3), (3, rest), (3, rest)))
        return Coupling(f, g, h)

    def downscale(self, x: Tensor, z_d: Tensor) -> tuple[Tensor, Tensor]:
        """From x ``[N, 3, H, W]`` and z_d ``[N, c_d, h, w]`` to y ``[N, 3, h, w]`` and z_u ``[N, 3s² - 3 + c_d, h, w]``."""
        for place, blocks in enumerate(self.levels):
            x = haar(x)
            if place == len(self.levels) - 1:
                x = torch.cat([x, z_d], 1)
            for block in blocks:
                x = block(x)
        return x[:, :3], x[:, 3:]

    def upscale(self, y: Tensor, z_u: Tensor) -> tuple[Tensor, Tensor]:
        """From y and z_u to x and z_d."""
        u, z_d = torch.cat([y, z_u], 1), y[:, :0]
        for place, blocks in reversed(list(enumerate(self.levels))):
            for block in reversed(blocks):
                u = block.inverse(u)
            if place == len(self.levels) - 1:
                u, z_d = u[:, : u.shape[1] - self.extra], u[:, u.shape[1] - self.extra :]
            u = inverse_haar(u)
        return u, z_d

    def forward(self, x: Tensor, z_d: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """y, z_u, and x and z_d from y in 8 bits and a fresh latent in the place of z_u: one pass of training."""
        y, z_u = self.downscale(x, z_d)
        return y, z_u, *self.upscale(quantize(y), fresh)


def quantize(y: Tensor) -> Tensor:
    """round(255 clip(y, 0, 1)) / 255; the gradient is that of the identity, also where it clips."""
    rounded = (255 * y.clamp(0, 1)).round() / 255
    return y + (rounded - y).detach()
