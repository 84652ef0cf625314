"""What an unnormalized model is worth: its normalizer, its likelihood, and samples of it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from regbench.methods.density.noise import Noise

LogDensity = Callable[[Tensor], Tensor]

POINTS = {1: 4001, 2: 241}
# Samples that are evaluated at once.
CHUNK = 8192
# Temperatures of annealed importance sampling, and ε of its moves, in units of the noise's variance over D^⅓.
ANNEALING = 100
ANNEALING_STEP = 1.0


def in_parts(h: LogDensity, x: Tensor) -> Tensor:
    """H ``[N]`` of ``x [N, …]`` in float64, in parts that fit the memory."""
    return torch.cat([h(part) for part in x.split(CHUNK)]).double()


def grid_log_normalizer(h: LogDensity, limits: tuple[float, float], size: int, like: Tensor) -> Tensor:
    """Log ∫ e^h by the rectangle rule on a square grid, in one or two dimensions.

    Args:
        h: logarithm of the unnormalized density.
        limits: of the grid in each dimension; the mass beyond must be negligible.
        size: dimensions, 1 or 2.
        like: a tensor of the dtype and device of samples.
    """
    axis = torch.linspace(*limits, POINTS[size], dtype=torch.float64, device=like.device)
    points = torch.cartesian_prod(*[axis] * size).reshape(-1, size).to(like.dtype)
    return in_parts(h, points).logsumexp(0) + size * (axis[1] - axis[0]).log()


def annealed_log_normalizer(
    h: LogDensity, noise: Noise, count: int, shape: tuple[int, ...], generator: torch.Generator
) -> tuple[Tensor, float]:
    """Gives log ∫ e^h by annealed importance sampling (Neal, 2001) from the noise q.

    Chains start from q and pass through q^{1-b} e^{b h}, b rising from 0 to 1 in equal steps, each with one Langevin move that
    is accepted or rejected (Metropolis). The mean of their weights is an unbiased estimate, however badly they mix.

    Args:
        h: logarithm of the unnormalized density.
        noise: q.
        count: number of chains N.
        shape: of a sample.
        generator: draws everything, on the device of q.

    Returns:
        The logarithm of the estimate, and the effective share of the chains, (Σ w)² / (N Σ w²).
    """
    x = noise.sample(count, generator).unflatten(1, shape)
    variances = x.flatten(1).var(0)
    # Langevin moves of this order are accepted in any dimension (Roberts and Rosenthal, 1998).
    size = ANNEALING_STEP * variances.mean().item() * len(variances) ** (-1 / 3)
    energy, ratio, slope = _tempered(h, noise, x, 0.0)
    log_w = torch.zeros(count, dtype=torch.float64, device=x.device)
    for number in range(1, ANNEALING + 1):
        log_w = log_w + ratio.double() / ANNEALING
        share = number / ANNEALING
        energy, ratio, slope = _tempered(h, noise, x, share)
        step = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        moved = x + 0.5 * size * slope + math.sqrt(size) * step
        new_energy, new_ratio, new_slope = _tempered(h, noise, moved, share)
        back = (x - moved - 0.5 * size * new_slope).flatten(1).square().sum(1) / (2 * size)
        odds = new_energy - energy - back + 0.5 * step.flatten(1).square().sum(1)
        taken = torch.rand(count, generator=generator, device=x.device, dtype=x.dtype).log() < odds
        x = torch.where(taken.view(-1, *[1] * len(shape)), moved, x)
        ratio = torch.where(taken, new_ratio, ratio)
    share = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp().item() / count
    return log_w.logsumexp(0) - math.log(count), share


def _tempered(h: LogDensity, noise: Noise, x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log q + b (h - log q) of samples, h - log q, and the former's gradient in the samples."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        base = noise.log_prob(x)
        ratio = h(x) - base
        energy = base + share * ratio
        (slope,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), ratio.detach(), slope


def langevin(h: LogDensity, start: Tensor, steps: int, size: float, generator: torch.Generator) -> Tensor:
    """Samples near e^h: x ← x + ε/2 ∇h(x) + √ε ξ, from ``start [N, …]``.

    Args:
        h: logarithm of the unnormalized density.
        start: where chains begin.
        steps: number of steps.
        size: ε.
        generator: draws ξ, on the device of ``start``.
    """
    x = start.detach()
    for _ in range(steps):
        with torch.enable_grad():
            x.requires_grad_()
            (slope,) = torch.autograd.grad(h(x).sum(), x)
        step = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = x.detach() + 0.5 * size * slope + math.sqrt(size) * step
    return x
