"""Diffusion of clips in discrete time: schedule, masked loss, guidance, and DDIM's sampler."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["linear", "scaled_linear"]
STEPS = 1000
FIRST, LAST = 0.00085, 0.0120

Noise = Callable[[Tensor, Tensor], Tensor]
"""ε(z_t, t): noisy clips ``[B, F, …]`` and steps ``[B]`` from 0 to the predicted noise ``[B, F, …]``."""


def signal_rates(schedule: Schedule) -> Tensor:
    """ᾱ_t of 1,000 steps, float64 ``[1000]``: β from 0.00085 to 0.012, linear, or linear in √β as latent diffusion has it."""
    power = 1.0 if schedule == "linear" else 0.5
    betas = torch.linspace(FIRST**power, LAST**power, STEPS, dtype=torch.float64) ** (1 / power)
    return (1 - betas).cumprod(0)


def diffuse(clean: Tensor, noise: Tensor, rates: Tensor) -> Tensor:
    """z_t = √ᾱ z₀ + √(1 - ᾱ) ε for clips ``[B, F, …]`` and their rates ᾱ ``[B]``, the same for all frames of a clip."""
    rates = rates.to(clean).reshape(-1, *(1 for _ in clean.shape[1:]))
    return rates.sqrt() * clean + (1 - rates).sqrt() * noise


def frame_errors(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean squared errors of frames ``[B, F]``, exactly 0 (in value and gradient) where a frame does not count.

    Args:
        predicted: ``[B, F, …]``.
        target: likewise.
        counted: ``[B, F]``, bool.
    """
    shape = (*counted.shape, *(1 for _ in predicted.shape[2:]))
    gap = torch.where(counted.reshape(shape), predicted - target, 0.0)
    return gap.square().flatten(2).mean(2)


def masked_loss(predicted: Tensor, target: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_f m_f w_f e_f / Σ_f m_f w_f over all frames of a batch, e_f a frame's mean squared error; a scalar (a reconstruction).

    One ratio over the batch: every valid frame counts alike, of whatever clip.

    Args:
        predicted: ε_θ ``[B, F, …]``.
        target: ε likewise; of padded slots anything, NaN included.
        valid: loss masks m ``[B, F]``, bool.
        weights: w ``[B, F]``; None: 1.
    """
    kept = valid.to(predicted.dtype) if weights is None else valid * weights
    return (frame_errors(predicted, target, kept != 0) * kept).sum() / kept.sum()


def guided(nothing: Tensor, images: Tensor, both: Tensor, image_scale: float, text_scale: float) -> Tensor:
    """ε(∅, ∅) + s_I [ε(I, ∅) - ε(∅, ∅)] + s_T [ε(I, y) - ε(I, ∅)], the usual guidance by two conditions (a reconstruction)."""
    return nothing + image_scale * (images - nothing) + text_scale * (both - images)


def ddim_sample(predict: Noise, start: Tensor, rates: Tensor, steps: int, eta: float, generator: torch.Generator) -> Tensor:
    """Clips from noise by DDIM (Song et al., ICLR 2021, eq. 12) in equal strides over the schedule.

    Args:
        predict: the noise in noisy clips.
        start: noise ``[B, F, …]``.
        rates: ᾱ ``[T]``.
        steps: how many, at most T.
        eta: share of DDPM's noise, 0: none.
        generator: draws it.
    """
    z = start
    places = torch.linspace(len(rates) - 1, 0, steps).round().long()
    for now, later in zip(places, [*places[1:], None], strict=True):
        rate = rates[now].to(z)
        after = z.new_ones(()) if later is None else rates[later].to(z)
        noise = predict(z, now.expand(len(z)).to(z.device))
        clean = (z - (1 - rate).sqrt() * noise) / rate.sqrt()
        deviation = eta * ((1 - after) / (1 - rate) * (1 - rate / after)).sqrt()
        z = after.sqrt() * clean + (1 - after - deviation**2).clamp_min(0).sqrt() * noise
        if eta and later is not None:
            z = z + deviation * torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    return z
