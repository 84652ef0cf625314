"""Plug-and-play restoration: a denoiser in the place of a proximal operator, in ADMM and in proximal gradient descent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regbench.methods.shared.bilevel.linear import conjugate_gradients
from regbench.methods.shared.bilevel.samples import norm
from regbench.methods.shared.proximal.operators import Measurement

Denoise = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Restored:
    """What a loop ended with, and how its iterations settled.

    Attributes:
        x: images ``[N, C, H, W]``.
        moves: ‖v^(k+1) - v^k‖ of the loop's state v in each iteration ``[K, N]``: in ADMM z and u stacked, else x.
    """

    x: Tensor
    moves: Tensor


def box(x: Tensor) -> Tensor:
    """The projection onto [0, 1]."""
    return x.clamp(0, 1)


@torch.no_grad()
def plug_and_play_admm(
    maps: Denoise | Sequence[Denoise],
    operator: Measurement,
    b: Tensor,
    start: Tensor,
    *,
    penalty: float,
    scale: float,
    iterations: int,
    tolerance: float = 1e-5,
    linear_iterations: int = 30,
) -> Restored:
    """ADMM for min_x s ‖Ax - b‖² + ρ Σ_i R_i(x) in the order of the released code: x, then u, then z.

    x ← (2s AᵀA + mρ I)⁻¹ (2s Aᵀb + ρ Σ_i (z_i - u_i)) by conjugate gradients, u_i ← u_i + x - z_i, z_i ← f_i(x + u_i), from
    z_i = start and u_i = 0. f_i is the proximal operator of R_i and ignores ρ, which so weighs the regularizers.

    Args:
        maps: f, or f_1, …, f_m, each shape-preserving.
        operator: A.
        b: ``[N, ...]``.
        start: ``[N, C, H, W]``.
        penalty: ρ > 0.
        scale: s > 0.
        iterations: K.
        tolerance: residual of the linear system at which its solver stops, relative to the right-hand side.
        linear_iterations: of conjugate gradients, at most.
    """
    maps = [maps] if callable(maps) else list(maps)
    weight = 2 * scale
    back, ridge = weight * operator.adjoint(b), penalty * len(maps)
    smoothness = b.new_full((len(b),), weight * operator.squared_norm + ridge)
    x, z, u = start, [start for _ in maps], [torch.zeros_like(start) for _ in maps]
    moves = []
    for _ in range(iterations):
        right = back + penalty * sum((zi - ui for zi, ui in zip(z, u, strict=True)), torch.zeros_like(start))
        x = conjugate_gradients(
            lambda v: weight * operator.adjoint(operator.forward(v)) + ridge * v,
            right,
            x,
            tolerance * norm(right),
            smoothness,
            linear_iterations,
        ).q
        before = torch.stack([*z, *u], 1)
        u = [ui + x - zi for ui, zi in zip(u, z, strict=True)]
        z = [f(x + ui) for f, ui in zip(maps, u, strict=True)]
        moves.append(norm(torch.stack([*z, *u], 1) - before))
    return Restored(x, torch.stack(moves))


@torch.no_grad()
def plug_and_play_gradient(
    denoise: Denoise, operator: Measurement, b: Tensor, start: Tensor, *, step_size: float, iterations: int
) -> Restored:
    """Proximal gradient descent x ← f(x - η Aᵀ(Ax - b)), which converges for η < 1 / ‖A‖² where f is a proximal operator.

    Args:
        denoise: f.
        operator: A.
        b: ``[N, ...]``.
        start: ``[N, C, H, W]``.
        step_size: η.
        iterations: K.
    """
    x, moves = start, []
    for _ in range(iterations):
        after = denoise(x - step_size * operator.adjoint(operator.forward(x) - b))
        moves.append(norm(after - x))
        x = after
    return Restored(x, torch.stack(moves))


@torch.no_grad()
def by_patches(denoise: Denoise, images: Tensor, size: int, stride: int) -> Tensor:
    """Denoises overlapping square patches of images ``[N, C, H, W]`` and averages them; the last ones touch the border.

    Of a proximal operator's patches it makes a proximal operator again, in the metric that counts each pixel as often as
    patches cover it.
    """
    rows, columns = (_places(length, size, stride, images.device) for length in images.shape[2:])
    window = torch.arange(size, device=images.device)
    down, across = (rows[:, None] + window), (columns[:, None] + window)
    patches = images[:, :, down[:, None, :, None], across[None, :, None, :]]  # [N, C, R, Q, size, size]
    flat = patches.permute(0, 2, 3, 1, 4, 5)
    done = denoise(flat.flatten(0, 2)).reshape(flat.shape).permute(0, 3, 1, 2, 4, 5)
    pixels = (down[:, None, :, None] * images.shape[3] + across[None, :, None, :]).flatten()
    sums = torch.zeros_like(images).flatten(2).index_add_(2, pixels, done.flatten(2))
    counts = torch.zeros_like(sums[0, 0]).index_add_(0, pixels, torch.ones_like(pixels, dtype=sums.dtype))
    return (sums / counts).reshape(images.shape)


def _places(length: int, size: int, stride: int, device: torch.device) -> Tensor:
    regular = torch.arange(0, max(1, length - size + 1), stride, device=device)
    last = torch.tensor([length - size], device=device)
    return torch.cat([regular, last]).unique()
