"""Cauchy-Schwarz divergences and Hilbert-Schmidt independence of samples, from Gaussian kernels between them.

Kernels are κ_σ(u, v) = exp(-‖u - v‖² / (2 σ²)) without a normalization constant. Sums of them are taken in logarithms, so that
far samples do not vanish, and in double precision (`in_double`), because of near samples all sums are nearly equal. Diagonals
are kept: these are plug-in estimates.
"""

from typing import Literal

import torch
from torch import Tensor

from regbench.methods.shared.numerics import in_double

Denominator = Literal["paper", "code"]

# Below, the divergence of a variable with itself counts as that of a constant.
SMALLEST = 1e-12


@in_double
def log_kernel(u: Tensor, v: Tensor, width: Tensor | float) -> Tensor:
    """Logarithms log κ(u_j, v_i) of samples ``u [M, d]`` and ``v [N, d]``, as ``[M, N]``."""
    center = v.detach().mean(0)
    u, v = u - center, v - center
    squares = u.square().sum(1)[:, None] + v.square().sum(1) - 2 * u @ v.T
    return -squares.clamp(min=0) / (2 * width**2)


@in_double
def cs_divergence(p: Tensor, q: Tensor, width: Tensor | float) -> Tensor:
    """D_CS = log (∫p² ∫q² / (∫pq)²) of kernel density estimates from samples ``p [M, d]`` and ``q [N, d]``: 0 for equal ones.

    For N(0, 1) and N(δ, 1) it tends to δ² / (2 + σ²).
    """
    within = sum(log_kernel(r, r, width).flatten().logsumexp(0) for r in (p, q))
    return within - 2 * log_kernel(p, q, width).flatten().logsumexp(0)


@in_double
def conditional_cs_divergence(
    x: Tensor,
    y: Tensor,
    prediction: Tensor,
    width_x: Tensor | float,
    width_y: Tensor | float,
    denominator: Denominator = "paper",
) -> Tensor:
    """D_CS(p(y|x); q(ŷ|x)) of samples (proposition 1): a loss that is 0 where predictions are the targets.

    With K on x, and L¹, L², L²¹ between targets, between predictions, and from predictions j to targets i,
    D = log Σ_j Σ_i K_ji L¹_ji / w_j + log Σ_j Σ_i K_ji L²_ji / w_j - 2 log Σ_j Σ_i K_ji L²¹_ji / w_j.

    Args:
        x: inputs ``[N, d]``.
        y: targets ``[N, k]``.
        prediction: ``[N, k]``.
        width_x: σ of K.
        width_y: σ of the others.
        denominator: w_j = (Σ_i K_ji)² in the paper, Σ_i K_ji² in the released code.
    """
    k = log_kernel(x, x, width_x)
    w = 2 * k.logsumexp(1) if denominator == "paper" else (2 * k).logsumexp(1)
    k = k - w[:, None]
    targets, predictions, cross = (
        (k + log_kernel(*pair, width_y)).flatten().logsumexp(0) for pair in ((y, y), (prediction, prediction), (prediction, y))
    )
    return targets + predictions - 2 * cross


@in_double
def cs_qmi(log_k: Tensor, log_q: Tensor) -> Tensor:
    """Quadratic mutual information D_CS(p(x, t); p(x) p(t)) from the log kernels ``[N, N]`` of both (proposition 2); in nats.

    log tr(KQ) + log 1ᵀK1 1ᵀQ1 - 2 log 1ᵀKQ1; the paper's powers of N cancel. At least 0, and 0 for a constant.
    """
    joint = (log_k + log_q).flatten().logsumexp(0)
    margins = log_k.flatten().logsumexp(0) + log_q.flatten().logsumexp(0)
    return joint + margins - 2 * (log_k.logsumexp(0) + log_q.logsumexp(1)).logsumexp(0)


@in_double
def normalized_cs_qmi(log_k: Tensor, log_q: Tensor) -> Tensor:
    """I_CS(x; t) / √(I_CS(x; x) I_CS(t; t)), which the released experiments run: 1 where t is x; 0 where either is constant.

    It may exceed 1: the logarithms keep the Cauchy-Schwarz inequality from bounding it.
    """
    scale = cs_qmi(log_k, log_k) * cs_qmi(log_q, log_q)
    return cs_qmi(log_k, log_q) / scale.clamp(min=SMALLEST).sqrt()


@in_double
def cs_information(
    x: Tensor, t: Tensor, width_x: Tensor | float, width_t: Tensor | float, *, normalized: bool = True
) -> Tensor:
    """I_CS(x; t) of samples ``x [N, d]`` and ``t [N, K]``, the term by which CS-IB compresses; normalized or not.

    Args:
        x: inputs.
        t: their codes.
        width_x: σ of the kernel on inputs.
        width_t: σ of the kernel on codes.
        normalized: over √(I_CS(x; x) I_CS(t; t)), as the released experiments have it.
    """
    kernels = (log_kernel(v, v, width) for v, width in ((x, width_x), (t, width_t)))
    return (normalized_cs_qmi if normalized else cs_qmi)(*kernels)


@in_double
def automatic_width(v: Tensor) -> Tensor:
    """Ten times the median squared distance between samples ``[N, d]``, the automatic width of the released code.

    The code takes the median over all pairs of the samples and a copy of them, so that N zeros count, and at least 0.01; where
    the median is 0, the mean. No gradient.
    """
    twice = torch.cat([v, v]).detach()
    squares = -2 * log_kernel(twice, twice, 1.0)
    below = squares[tuple(torch.tril_indices(len(twice), len(twice), -1, device=v.device))]
    # By two order statistics: `quantile` takes at most 2²⁴ values, the pairs of 2,900 samples.
    middle = [below.kthvalue(k).values for k in ((len(below) + 1) // 2, len(below) // 2 + 1)]
    median = (middle[0] + middle[1]) / 2
    return 10 * torch.where(median > 0, median, below.mean()).clamp(min=0.01)


@in_double
def hsic(u: Tensor, v: Tensor, widths: tuple[float, float]) -> Tensor:
    """tr(K H L H) / (N - 1)² of samples ``u [N, d]`` and ``v [N, k]``, with Gaussian kernels and H = I - 11ᵀ / N."""
    k, q = (log_kernel(w, w, width).exp() for w, width in zip((u, v), widths, strict=True))
    return ((k - k.mean(0)) * (q - q.mean(1, keepdim=True))).sum() / max(1, len(u) - 1) ** 2
