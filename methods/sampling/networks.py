"""The denoising network of EDM: a U-Net in the form of DDPM++, preconditioned for every noise level (Karras et al., 2022).

Submodules have the names of the released checkpoints, so that these can be loaded.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention, silu

# The factor on the sum of a block and its input.
HALF_POWER = math.sqrt(0.5)


def _initialized(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Xavier-uniform weights times a gain, and no bias at the start."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _normalization(channels: int, eps: float = 1e-6) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


class Block(nn.Module):
    """Two convolutions with the noise level's embedding added between them, then attention of one head over pixels.

    Args:
        inputs: channels.
        outputs: channels.
        embedding: numbers in the embedding of the noise level.
        resample: whether the image is halved, doubled, or neither.
        attention: whether there is any.
        dropout: share of the activations before the second convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, embedding: int, resample: str = "", attention: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.resample, self.dropout = resample, nn.Dropout(dropout)
        self.norm0 = _normalization(inputs)
        self.conv0 = _initialized(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.affine = _initialized(nn.Linear(embedding, outputs))
        self.norm1 = _normalization(outputs)
        self.conv1 = _initialized(nn.Conv2d(outputs, outputs, 3, padding=1), 1e-5)
        changes = inputs != outputs or resample
        self.skip = _initialized(nn.Conv2d(inputs, outputs, 1)) if changes else None
        self.norm2 = _normalization(outputs) if attention else None
        if attention:
            self.qkv = _initialized(nn.Conv2d(outputs, 3 * outputs, 1), math.sqrt(0.2))
            self.proj = _initialized(nn.Conv2d(outputs, outputs, 1), 1e-5)

    def _resized(self, x: Tensor) -> Tensor:
        """Each way with a box of 2 x 2 pixels."""
        if self.resample == "up":
            return interpolate(x, scale_factor=2, mode="nearest")
        return avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Images of features ``[N, C, H, W]`` and embeddings ``[N, E]`` to ``[N, C', H', W']``."""
        hidden = self.conv0(self._resized(silu(self.norm0(x))))
        hidden = silu(self.norm1(hidden + self.affine(embedding)[:, :, None, None]))
        hidden = self.conv1(self.dropout(hidden))
        skipped = x if self.skip is None else self.skip(self._resized(x))
        hidden = (hidden + skipped) * HALF_POWER
        if self.norm2 is None:
            return hidden
        # Of each pixel: query, key and value interleaved over channels, as released.
        q, k, v = self.qkv(self.norm2(hidden)).unflatten(1, (-1, 3)).flatten(3).transpose(1, 3).unbind(2)
        attended = scaled_dot_product_attention(q, k, v).mT.reshape(hidden.shape)
        return (self.proj(attended) + hidden) * HALF_POWER


class UNet(nn.Module):
    """The U-Net of DDPM++ as EDM has it.

    Args:
        size: height and width of an image.
        colours: channels of an image.
        width: channels at the first level.
        multipliers: of the width, at each level.
        blocks: of each level of the encoder; the decoder has one more.
        attention: sizes at which there is attention, besides that in the middle.
        dropout: in blocks.
        augmentations: length of the labels of augmentations with which a checkpoint was trained; not used in sampling.
    """

    def __init__(
        self,
        size: int,
        colours: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...] = (),
        dropout: float = 0.0,
        augmentations: int = 0,
    ) -> None:
        super().__init__()
        embedding = 4 * width
        self.width = width
        self.map_augment = nn.Linear(augmentations, width, bias=False) if augmentations else None
        self.map_layer0 = _initialized(nn.Linear(width, embedding))
        self.map_layer1 = _initialized(nn.Linear(embedding, embedding))
        sizes = [size >> level for level in range(len(multipliers))]
        enc: dict[str, nn.Module] = {f"{size}x{size}_conv": _initialized(nn.Conv2d(colours, width, 3, padding=1))}
        channels, skips = width, [width]
        for level, side in enumerate(sizes):
            if level:
                enc[f"{side}x{side}_down"] = Block(channels, channels, embedding, "down", dropout=dropout)
                skips.append(channels)
            for number in range(blocks):
                wide = width * multipliers[level]
                enc[f"{side}x{side}_block{number}"] = Block(channels, wide, embedding, "", side in attention, dropout)
                channels = wide
                skips.append(channels)
        dec: dict[str, nn.Module] = {}
        for level, side in reversed(list(enumerate(sizes))):
            if level == len(sizes) - 1:
                dec[f"{side}x{side}_in0"] = Block(channels, channels, embedding, "", True, dropout)
                dec[f"{side}x{side}_in1"] = Block(channels, channels, embedding, dropout=dropout)
            else:
                dec[f"{side}x{side}_up"] = Block(channels, channels, embedding, "up", dropout=dropout)
            for number in range(blocks + 1):
                wide, last = width * multipliers[level], number == blocks
                dec[f"{side}x{side}_block{number}"] = Block(
                    channels + skips.pop(), wide, embedding, "", last and side in attention, dropout
                )
                channels = wide
        dec[f"{size}x{size}_aux_norm"] = _normalization(channels)
        dec[f"{size}x{size}_aux_conv"] = _initialized(nn.Conv2d(channels, colours, 3, padding=1), 1e-5)
        self.enc, self.dec = nn.ModuleDict(enc), nn.ModuleDict(dec)

    def embed(self, noise: Tensor) -> Tensor:
        """Sines and cosines of noise labels ``[N]``, then two layers: ``[N, E]``."""
        half = self.width // 2
        powers = torch.arange(half, dtype=noise.dtype, device=noise.device) / (half - 1)
        angles = noise[:, None] * 1e-4**powers
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        return silu(self.map_layer1(silu(self.map_layer0(waves))))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Scaled images ``[N, C, H, W]`` and noise labels ``[N]`` to the network's raw output ``[N, C, H, W]``."""
        embedding, skips = self.embed(noise), []
        for part in self.enc.values():
            x = part(x, embedding) if isinstance(part, Block) else part(x)
            skips.append(x)
        *blocks, norm, convolution = self.dec.items()
        for name, block in blocks:
            x = block(torch.cat([x, skips.pop()], 1) if "block" in name else x, embedding)
        return convolution[1](silu(norm[1](x)))


class PreconditionedDenoiser(nn.Module):
    """m(x, σ) = c_skip x + c_out F(c_in x, ln(σ) / 4) (Karras et al., eq. 7 and table 1), in the precision of its parameters.

    Args:
        model: F.
        deviation: σ_data, of the images.
    """

    def __init__(self, model: UNet, deviation: float = 0.5) -> None:
        super().__init__()
        self.model, self.deviation = model, deviation

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised images ``[N, C, H, W]`` of the type of x; σ is a scalar tensor or one number an image ``[N]``."""
        given, dtype = x.dtype, next(self.parameters()).dtype
        sigma = sigma.to(x.device, dtype).expand(len(x))
        level, own = sigma[:, None, None, None], self.deviation
        x = x.to(dtype)
        total = (level**2 + own**2).sqrt()
        raw = self.model(x / total, sigma.log() / 4)
        return ((own / total) ** 2 * x + level * own / total * raw).to(given)
