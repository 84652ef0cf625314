"""Adaptive deviation for quantization (ADQ): a residual whose body sees normalized features, scaled by their deviation."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Deviation = Literal["adq", "adadm", "plain"]


class Residual(nn.Module):
    """A residual y = x + φ(std(x)) · F(BN(x)), or without any of it y = x + F(x).

    std is that of each sample over channels, height and width, unbiased. In ADQ φ(s) = a s + c; in AdaDM (Liu et al., 2022),
    its ancestor, the scale is exp(a log s + c). a and c are learned, from 1.5 and 0, as in the released code.

    Args:
        channels: of x.
        deviation: ``adq``, ``adadm``, or ``plain`` for neither normalization nor scale.
    """

    def __init__(self, channels: int, deviation: Deviation) -> None:
        super().__init__()
        self.deviation = deviation
        if deviation != "plain":
            self.normalize = nn.BatchNorm2d(channels)
            self.slope = nn.Parameter(torch.tensor(1.5))
            self.offset = nn.Parameter(torch.tensor(0.0))

    def scale(self, x: Tensor) -> Tensor:
        """φ ``[N, 1, 1, 1]`` of features ``[N, C, H, W]``."""
        deviation = x.std((1, 2, 3), keepdim=True)
        if self.deviation == "adq":
            return self.slope * deviation + self.offset
        tiny = torch.finfo(x.dtype).tiny
        return (self.slope * deviation.clamp(min=tiny).log() + self.offset).exp()

    def forward(self, x: Tensor, body: Callable[[Tensor], Tensor]) -> Tensor:
        """Features x and what the body F makes of them, both ``[N, C, H, W]``."""
        return x + body(x) if self.deviation == "plain" else x + self.scale(x) * body(self.normalize(x))
