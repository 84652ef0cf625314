"""Solvers of the probability flow of a diffusion model, from noise to data, in the form of data prediction.

Everywhere x = x₀ + σ ε, as in EDM (Karras et al., NeurIPS 2022), and a denoiser m(x, σ) gives the mean of x₀ given x. A model
of x' = α x₀ + σ' ε' is one of these, with x = x'/α and σ = σ'/α. A solver takes any such callable and a falling grid of noise
levels, calls it once a step, and differs from another only in how it extrapolates m between two levels.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""m(x, σ): noisy images ``[N, …]`` and their noise level, a scalar tensor, to denoised images ``[N, …]`` of the type of x."""

Grid = Literal["logSNR", "edm", "time_uniform", "time_quadratic"]

EDM_POWER = 7.0


def noise_levels(grid: Grid, steps: int, largest: float = 80.0, smallest: float = 0.002) -> Tensor:
    """A grid σ_0 > … > σ_N of N steps, float64 ``[N + 1]``.

    Args:
        grid: uniform in log σ (``logSNR``), in σ^(1/7) (``edm``: Karras et al., eq. 5), in σ or in √σ.
        steps: N.
        largest: σ_0.
        smallest: σ_N.
    """
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    ends = torch.tensor([largest, smallest], dtype=torch.float64)
    if grid == "logSNR":
        first, last = ends.log()
        return (first + share * (last - first)).exp()
    power = {"edm": EDM_POWER, "time_uniform": 1.0, "time_quadratic": 2.0}[grid]
    first, last = ends ** (1 / power)
    return (first + share * (last - first)) ** power


def euler_step(x: Tensor, m: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """The image at level t from that at s > t with m(x, s) held: (t/s) x + (1 - t/s) m, the step of DDIM."""
    ratio = t / s
    return ratio * x + (1 - ratio) * m


def multistep_step(x: Tensor, m0: Tensor, m1: Tensor, r: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """A step of DPM-Solver++(2M) from level s to t (Lu et al., 2022, algorithm 2).

    With λ = -log σ, h = λ_t - λ_s and r₀ = (λ_s - λ_r) / h: (t/s) x + (1 - e^-h) [m₀ + (m₀ - m₁) / (2 r₀)].

    Args:
        x: at s ``[N, …]``.
        m0: m at s.
        m1: m at the level before, r.
        r: that level, a scalar tensor.
        s: the level of x.
        t: the level to reach.
    """
    r0 = (r / s).log() / (s / t).log()
    return euler_step(x, m0 + (m0 - m1) / (2 * r0), s, t)


Variant = Literal["bh1", "bh2"]


def unipc_scales(h: Tensor, variant: Variant) -> tuple[Tensor, Tensor, Tensor]:
    """B(h), and the right-hand side (b₁, b₂) of UniPC's conditions for two points (Zhao et al., NeurIPS 2023, section 3.3).

    For data prediction B(h) is -h (``bh1``) or e^-h - 1 (``bh2``); b_n = n! φ_{n+1}(-h) (-h) / B(h), where
    φ_{n+1}(z) = (φ_n(z) - 1/n!) / z and φ_1(z) = (e^z - 1) / z.

    Args:
        h: λ_t - λ_s > 0, a scalar tensor.
        variant: which B.
    """
    z = -h
    scale = z if variant == "bh1" else z.expm1()
    phi2 = (z.expm1() / z - 1) / z
    phi3 = (phi2 - 0.5) / z
    return scale, phi2 * z / scale, 2 * phi3 * z / scale


def unipc_predict(x: Tensor, m0: Tensor, m1: Tensor | None, r: Tensor, s: Tensor, t: Tensor, variant: Variant) -> Tensor:
    """UniP-2, or UniP-1 (a step of DDIM) without m₁: x at t before m is known there; arguments as for ``multistep_step``."""
    x_t = euler_step(x, m0, s, t)
    if m1 is None:
        return x_t
    h = (s / t).log()
    ratio = (s / r).log() / h  # (λ_r - λ_s) / h < 0
    return x_t - unipc_scales(h, variant)[0] * 0.5 * (m1 - m0) / ratio


def unipc_correct(
    x: Tensor, m0: Tensor, m1: Tensor | None, m_t: Tensor, r: Tensor, s: Tensor, t: Tensor, variant: Variant
) -> Tensor:
    """UniC-2, or UniC-1 without m₁: x at t once m is known at what was predicted there.

    Args:
        x: at s ``[N, …]``.
        m0: m at s.
        m1: m at r, the level before; None in the first step.
        m_t: m at the prediction for t.
        r: that level before.
        s: the level of x.
        t: the level to reach.
        variant: which B(h).
    """
    x_t = euler_step(x, m0, s, t)
    h = (s / t).log()
    scale, b1, b2 = unipc_scales(h, variant)
    if m1 is None:
        return x_t - scale * 0.5 * (m_t - m0)
    ratio = (s / r).log() / h
    # Two conditions: ρ₁ + ρ₂ = b₁ and ratio ρ₁ + ρ₂ = b₂.
    rho1 = (b1 - b2) / (1 - ratio)
    return x_t - scale * (rho1 * (m1 - m0) / ratio + (b1 - rho1) * (m_t - m0))


def ddim(denoiser: Denoiser, x: Tensor, levels: Tensor) -> Tensor:
    """DDIM without noise (Song et al., ICLR 2021): each m is held until the next level.

    Args:
        denoiser: m, called N times.
        x: at the first level ``[B, …]``.
        levels: ``[N + 1]``, falling.
    """
    for s, t in pairwise(levels):
        x = euler_step(x, denoiser(x, s), s, t)
    return x


def dpm_solver(denoiser: Denoiser, x: Tensor, levels: Tensor) -> Tensor:
    """DPM-Solver++(2M), its first and last steps of first order (``lower_order_final``); arguments as for ``ddim``."""
    m1, r = None, levels[0]
    for number, (s, t) in enumerate(pairwise(levels), start=1):
        m0 = denoiser(x, s)
        x = euler_step(x, m0, s, t) if m1 is None or number == len(levels) - 1 else multistep_step(x, m0, m1, r, s, t)
        m1, r = m0, s
    return x


def unipc(denoiser: Denoiser, x: Tensor, levels: Tensor, variant: Variant = "bh2") -> Tensor:
    """UniPC of order 2 in several steps: predict, call m, correct x but not m; the last step predicts alone, in first order.

    Arguments as for ``ddim``; ``variant`` is B(h).
    """
    m1, r, m0 = None, levels[0], denoiser(x, levels[0])
    for s, t in pairwise(levels[:-1]):
        m_t = denoiser(unipc_predict(x, m0, m1, r, s, t, variant), t)
        x = unipc_correct(x, m0, m1, m_t, r, s, t, variant)
        m1, r, m0 = m0, s, m_t
    return euler_step(x, m0, levels[-2], levels[-1])


def heun(denoiser: Denoiser, x: Tensor, levels: Tensor) -> Tensor:
    """Heun's method for dx/dσ = (x - m(x, σ)) / σ (Karras et al., algorithm 1): two calls a step; for references."""
    for s, t in pairwise(levels):
        slope = (x - denoiser(x, s)) / s
        ahead = x + (t - s) * slope
        x = x + (t - s) * (slope + (ahead - denoiser(ahead, t)) / t) / 2
    return x
