"""How much latents say about their neighbours in time, and over how many directions they spread."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from regbench.methods.shared.numerics import in_double

# Where the logarithm of a density matrix's eigenvalue ends: what rounding leaves of 0 in some hundred dimensions.
FLOOR = 1e-14
# Keeps latents that are all equal from being divided by zero.
TINY = 1e-30


def covariance(z: Tensor) -> Tensor:
    """The covariance ``[d, d]`` of latents ``[..., d]``, over all their rows, divided by their number; float64."""
    rows = z.flatten(0, -2).double()
    rows = rows - rows.mean(0)
    return rows.T @ rows / len(rows)


@in_double
def von_neumann_entropy(C: Tensor) -> Tensor:
    """S(ρ) = -tr(ρ log ρ) of ρ = C / tr C, in [0, log d]; e^S is the effective dimension.

    The sum over eigenvalues has the gradient -(log ρ + I), also where eigenvalues are equal. Below 1e-14 the logarithm stays
    what it is there, so that directions without variance have a finite gradient, by which they grow; the released code's clamp
    of eigenvalues at 1e-8 would keep them from ever growing.

    Args:
        C: a covariance ``[d, d]``; zero gives 0.
    """
    values = torch.linalg.eigvalsh(C / C.trace().clamp_min(TINY))
    return -(values * values.clamp_min(FLOOR).log()).sum()


def window_info_nce(z: Tensor, neighborhood: int, temperature: float | Tensor) -> Tensor:
    """The released code's InfoNCE loss, within windows.

    ℓ = mean over windows and steps n of -log(Σ_p e^{s_np} / Σ_{j≠n} e^{s_nj}), with s the cosine of two latents over τ and p
    the steps at most k away from n. Steps within k of a window's end are no anchors.

    Args:
        z: latents ``[B, T, d]``.
        neighborhood: k; the loss is 0 if T ≤ 2 k.
        temperature: τ.
    """
    steps = z.shape[1]
    if steps <= 2 * neighborhood:
        return z.sum() * 0.0
    unit = normalize(z, dim=-1)
    similarity = unit @ unit.mT / temperature  # [B, T, T]
    distance = _distances(steps, z.device)
    others = similarity.masked_fill(distance == 0, -math.inf).logsumexp(2)
    near = similarity.masked_fill((distance == 0) | (distance > neighborhood), -math.inf).logsumexp(2)
    return (others - near)[:, neighborhood : steps - neighborhood].mean()


def batch_info_nce(z: Tensor, neighborhood: int, temperature: float | Tensor) -> Tensor:
    """InfoNCE as the paper prints it, with its sign changed to make a loss.

    ℓ = -mean over anchors and their 2 k neighbours p of log(e^{z_n·z_p / τ} / Σ_j e^{z_n·z_j / τ}), where j runs over the
    batch: the latents at the anchor's own step in all windows, the anchor's included.

    Args:
        z: latents ``[B, T, d]``.
        neighborhood: k; the loss is 0 if T ≤ 2 k.
        temperature: τ.
    """
    steps = z.shape[1]
    if steps <= 2 * neighborhood:
        return z.sum() * 0.0
    distance = _distances(steps, z.device)
    near = ((distance > 0) & (distance <= neighborhood)).to(z)
    positive = (z @ z.mT / temperature * near).sum(2) / (2 * neighborhood)  # [B, T]
    aligned = z.transpose(0, 1)  # [T, B, d]
    contrast = (aligned @ aligned.mT / temperature).logsumexp(2).T  # [B, T]
    return (contrast - positive)[:, neighborhood : steps - neighborhood].mean()


@in_double
def gaussian_information(K: Tensor, C: Tensor, noise: Tensor, lag: int) -> Tensor:
    """I(z_{t-n}; z_t) = ½ log det(I + M_n⁻¹ K_n C K_nᵀ) of z_t = K z_{t-1} + ε (equation 7), in nats.

    M_n = Σ_{i<n} Kⁱ Σ (Kⁱ)ᵀ is the noise gathered on the way; columns are states here, so that K is the transpose of a row
    operator.

    Args:
        K: ``[d, d]``.
        C: covariance of z_{t-n} ``[d, d]``.
        noise: Σ, covariance of ε ``[d, d]``, positive definite.
        lag: n ≥ 1.
    """
    gathered, power = noise, K
    for _ in range(lag - 1):
        gathered, power = gathered + power @ noise @ power.mT, power @ K
    # With M = L Lᵀ, the determinant is that of I + L⁻¹ (K_n C K_nᵀ) L⁻ᵀ, which is symmetric.
    lower = torch.linalg.cholesky(gathered)
    half = torch.linalg.solve_triangular(lower, power @ C @ power.mT, upper=False)
    whitened = torch.linalg.solve_triangular(lower, half.mT, upper=False)
    eye = torch.eye(len(K), dtype=K.dtype, device=K.device)
    return 0.5 * torch.linalg.slogdet(eye + whitened).logabsdet


def _distances(steps: int, device: torch.device) -> Tensor:
    """|i - j| ``[T, T]``."""
    time = torch.arange(steps, device=device)
    return (time[:, None] - time).abs()
