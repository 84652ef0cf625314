"""Numbers of b bits: what quantizes weights and activations, and the noise that stands for it in a search."""

from typing import Literal

import torch
from torch import Tensor

Distribution = Literal["gaussian", "uniform"]

# Half-wave Gaussian quantization (Cai et al., 2017): the best step for the positive half of a standard normal variable.
STEPS = {
    1: 1.0576462792297525,
    2: 0.6356366866203315,
    3: 0.3720645813370479,
    4: 0.21305606790772952,
    8: 0.020300567823662602,
    16: 9.714825915156693e-05,
}
FULL = 32
"""As many bits mean that nothing is quantized."""


def round_through(x: Tensor) -> Tensor:
    """Rounded numbers, half to even, with the gradient of x: straight-through."""
    return x + (x.round() - x).detach()


def quantization_noise(
    x: Tensor, bits: int, scale: float | Tensor = 0.5, distribution: Distribution = "gaussian", *, detached: bool = True
) -> Tensor:
    """Noise as large as quantization to b bits: N_b(x) = sg[x + Δ ξ] with Δ = (max x - min x) / (2^b - 1).

    Numbers are drawn from torch's global generator.

    Args:
        x: weights or activations, of any shape; the range is that of the whole tensor.
        bits: b.
        scale: of ξ, which is scale · N(0, 1) or uniform on (-scale, scale); at ½ both are the released code's.
        distribution: of ξ.
        detached: whether no gradient flows to x, as in the released code; otherwise N_b(x) = x + sg[Δ ξ].
    """
    fixed = x.detach()
    step = (fixed.max() - fixed.min()) / (2**bits - 1)
    xi = torch.randn_like(fixed) if distribution == "gaussian" else 2 * torch.rand_like(fixed) - 1
    return (fixed if detached else x) + step * scale * xi


def mixing_coefficients(probabilities: Tensor) -> tuple[float, Tensor]:
    """How an operation mixes its exact and its noisy tensors: c₀ = 1 / (B + 1) and a_b = p_b / (Σ p + c₀).

    Args:
        probabilities: of an operation with each of B numbers of bits ``[B]``, whose sum is that of the operation.

    Returns:
        c₀, and a ``[B]``; together they do not add up to 1.
    """
    exact = 1 / (len(probabilities) + 1)
    return exact, probabilities / (probabilities.sum() + exact)


def noisy_mixture(
    x: Tensor,
    probabilities: Tensor,
    bits: tuple[int, ...],
    scale: float | Tensor = 0.5,
    distribution: Distribution = "gaussian",
    *,
    detached: bool = True,
) -> Tensor:
    """The mixture c₀ x + Σ_b a_b N_b(x) with the coefficients of ``mixing_coefficients``, of the shape of x."""
    exact, shares = mixing_coefficients(probabilities)
    noisy = (quantization_noise(x, b, scale, distribution, detached=detached) for b in bits)
    return exact * x + sum(share * part for share, part in zip(shares, noisy, strict=True))


def weight_limits(bits: int) -> tuple[int, int]:
    """The least and the largest integer of a weight of b bits: -2^(b-1) and 2^(b-1) - 1."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def initial_step(weight: Tensor, bits: int) -> Tensor:
    """Where learning a step begins: s = 2 mean|W| / √(2^(b-1) - 1) of each output channel; ``[O, …]`` to ``[O, 1, …]``."""
    mean = weight.detach().abs().flatten(1).mean(1)
    return (2 * mean / weight_limits(bits)[1] ** 0.5).reshape(-1, *[1] * (weight.dim() - 1))


def lsq(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """Weights on a grid of learned steps (LSQ, Esser et al., 2020): s round(clip(W / s, -2^(b-1), 2^(b-1) - 1)).

    Rounding is straight-through; the gradient of s is scaled by 1 / √((2^(b-1) - 1) |W|), where |W| is the number of weights.

    Args:
        weight: W ``[O, …]``.
        step: s, of a shape that W's can be divided by; positive.
        bits: b; with 32, W is returned.
    """
    if bits >= FULL:
        return weight
    low, high = weight_limits(bits)
    scale = (high * weight.numel()) ** -0.5
    scaled = step * scale + (step - step * scale).detach()
    return round_through((weight / scaled).clamp(low, high)) * scaled


def hwgq(x: Tensor, bits: int) -> Tensor:
    """Positive activations on a fixed grid (half-wave Gaussian quantization): Δ round(clip(x, 0, Δ (2^b - 1)) / Δ).

    Rounding is straight-through; beyond the clip the gradient is 0.
    """
    step = STEPS[bits]
    return round_through(x.clamp(0, step * (2**bits - 1)) / step) * step


def weight_integers(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """What LSQ's weights are as integers, float: ``lsq(weight, step, bits) / step``."""
    return (weight / step).clamp(*weight_limits(bits)).round()


def activation_integers(x: Tensor, bits: int) -> Tensor:
    """What HWGQ's activations are as integers from 0 to 2^b - 1, float."""
    step = STEPS[bits]
    return (x.clamp(0, step * (2**bits - 1)) / step).round()
