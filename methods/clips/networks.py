"""The discrete frame generation network: a U-Net over frames whose scales exchange what they know over time."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu


class ResidualBlock(nn.Module):
    """Two convolutions of each frame by itself, with an embedding of time and caption added between them.

    Args:
        inputs: channels.
        outputs: channels.
        embedding: length of the embedding.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shift = nn.Linear(embedding, outputs)
        self.second = nn.Sequential(nn.GroupNorm(4, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Frames ``[N, C, H, W]`` with embeddings ``[N, E]`` to ``[N, C', H, W]``."""
        return self.second(self.first(x) + self.shift(embedding)[:, :, None, None]) + self.skip(x)


class SpatialTemporalInteraction(nn.Module):
    """What RDTF adds to an image network: two convolutions over three frames, then attention over all, at each place by itself.

    Frames that are not valid are seen by none.

    Args:
        channels: of a frame.
        heads: of the attention, a divisor of the channels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.GroupNorm(4, channels) for _ in range(2)])
        first, second = (nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0)) for _ in range(2))
        self.convolutions = nn.ModuleList([first, second])
        self.norm = nn.LayerNorm(channels)
        self.places = nn.Embedding(32, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels, bias=False), nn.Linear(channels, channels)
        # Starts as if there were no time.
        for layer in (second, self.out):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Frames ``[B, F, C, H, W]`` of which some are valid ``[B, F]``, bool, to the same shape."""
        batch, frames, channels, height, width = x.shape
        hidden, kept = x, valid[:, None, :, None, None]
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            normal = silu(norm(hidden.flatten(0, 1))).unflatten(0, (batch, frames)).transpose(1, 2)
            hidden = convolution(normal * kept).transpose(1, 2)
        x = x + hidden
        tokens = x.permute(0, 3, 4, 1, 2).reshape(-1, frames, channels)
        states = self.norm(tokens) + self.places(torch.arange(frames, device=x.device))
        q, k, v = self.qkv(states).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = valid[:, None, None].repeat_interleave(height * width, 0)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        return x + self.out(attended).reshape(batch, height, width, frames, channels).permute(0, 3, 4, 1, 2)


class FrameNetwork(nn.Module):
    """Predicts the noise in clips from their noisy frames, the given ones, the step of diffusion and a caption.

    Args:
        channels: of a frame's latent.
        width: channels at the finer scale; twice as many at the coarser one.
        heads: of the attention over time.
        vocabulary: tokens of captions; 0 fills up, and a caption of zeros is no caption.
    """

    def __init__(self, channels: int, width: int, heads: int, vocabulary: int) -> None:
        super().__init__()
        embedding = 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.words = nn.EmbeddingBag(vocabulary, embedding, mode="sum", padding_idx=0)
        self.stem = nn.Conv2d(2 * channels, width, 3, padding=1)
        self.fine = ResidualBlock(width, width, embedding)
        self.fine_time = SpatialTemporalInteraction(width, heads)
        self.down = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.coarse = ResidualBlock(width, 2 * width, embedding)
        self.coarse_time = SpatialTemporalInteraction(2 * width, heads)
        self.up = ResidualBlock(3 * width, width, embedding)
        self.head = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))

    def embed(self, steps: Tensor, captions: Tensor) -> Tensor:
        """Embeddings ``[B, E]`` of steps ``[B]`` and captions ``[B, W]``."""
        half = self.width // 2
        powers = torch.arange(half, device=steps.device) / half
        angles = steps[:, None] * torch.exp(-math.log(10_000) * powers)
        angles = angles.to(self.words.weight.dtype)
        return silu(self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.words(captions))

    def forward(self, noisy: Tensor, given: Tensor, mask: Tensor, valid: Tensor, steps: Tensor, captions: Tensor) -> Tensor:
        """The predicted noise ``[B, F, C, H, W]``, 0 in frames that are not valid.

        Args:
            noisy: z_t ``[B, F, C, H, W]``.
            given: z₀, of which the given frames alone are seen.
            mask: the condition mask ``[B, F]``, bool.
            valid: the loss mask ``[B, F]``, bool.
            steps: t ``[B]``, int64, from 0.
            captions: tokens ``[B, W]``, int64.
        """
        batch, frames = valid.shape
        shape = (batch, frames, 1, 1, 1)
        noisy = torch.where(valid.reshape(shape), noisy, 0.0)
        given = torch.where((mask & valid).reshape(shape), given, 0.0)
        embedding = self.embed(steps, captions).repeat_interleave(frames, 0)

        def over_time(layer: SpatialTemporalInteraction, x: Tensor) -> Tensor:
            return layer(x.unflatten(0, (batch, frames)), valid).flatten(0, 1)

        fine = self.stem(torch.cat([noisy, given], 2).flatten(0, 1))
        fine = over_time(self.fine_time, self.fine(fine, embedding))
        coarse = over_time(self.coarse_time, self.coarse(self.down(fine), embedding))
        joined = torch.cat([interpolate(coarse, scale_factor=2, mode="nearest"), fine], 1)
        predicted = self.head(self.up(joined, embedding)).unflatten(0, (batch, frames))
        return torch.where(valid.reshape(shape), predicted, 0.0)
