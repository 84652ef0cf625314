"""Images of super-resolution: in luminance, enlarged, cut, and compared."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import TensorDataset

from regbench.methods.run import Run
from regbench.methods.shared.images import luminance, squares, unit

# Pixels in high resolution that are restored at once, which bounds the memory of evaluations.
PIXELS = 2**19
# What a flawless image is given, in decibels.
FLAWLESS = 100.0


def enlarged(low: Tensor, scale: int) -> Tensor:
    """Images ``[N, C, H, W]`` enlarged by bicubic interpolation (a = -½); ``[N, C, sH, sW]``, which may leave [0, 1]."""
    size = (low.shape[2] * scale, low.shape[3] * scale)
    return interpolate(low, size, mode="bicubic", antialias=True)


def luminance_psnr(found: Tensor, true: Tensor, border: int) -> Tensor:
    """10 log₁₀(1 / MSE) of the luminance of bytes, without a border; ``[N]``, in decibels, at most ``FLAWLESS``.

    Args:
        found: colour images ``[N, 3, H, W]``, clipped to [0, 1] and rounded to bytes here.
        true: likewise.
        border: pixels at each side that do not count.
    """
    inner = slice(border, -border or None)
    y, x = (luminance(images.double().clamp(0, 1).mul(255).round() / 255)[..., inner, inner] for images in (found, true))
    return -10 * (y - x).square().flatten(1).mean(1).clamp(min=10 ** (-FLAWLESS / 10)).log10()


def mean_psnr(upscale: Callable[[Tensor], Tensor], split: TensorDataset, run: Run) -> float:
    """The mean of ``luminance_psnr`` over a split's whole images; the border is as wide as the scale.

    Args:
        upscale: maps images ``[N, 3, H, W]`` in [0, 1] to ``[N, 3, sH, sW]``.
        split: of ``methods/shared/data/low_resolution.py``.
        run: holds it on its device.
    """
    low, high, size = run.tensors(split)
    scale, found = run.data.meta["scale"], []
    with torch.no_grad():
        for height, width in size.unique(dim=0).tolist():
            rows = (size == size.new_tensor([height, width])).all(1).nonzero()[:, 0]
            for part in rows.split(max(1, PIXELS // (height * width))):
                given, true = unit(low[part])[..., : height // scale, : width // scale], unit(high[part])[..., :height, :width]
                found.append(luminance_psnr(upscale(given), true, scale))
    return torch.cat(found).mean().item()


def cropped(low: Tensor, high: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random square of each pair: ``[N, 3, side, side]`` of low and ``[N, 3, s side, s side]`` of high resolution."""
    scale = high.shape[2] // low.shape[2]
    room = torch.tensor(low.shape[2:]) - side + 1
    corners = (torch.rand(len(low), 2, generator=generator) * room).long().to(low.device)
    each = torch.arange(len(low), device=low.device)
    return squares(low, each, corners, side), squares(high, each, corners * scale, side * scale)
