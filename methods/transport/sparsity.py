"""Conjugates of the cardinality-constrained quadratic regularizer, as functions of torch tensors (Liu et al., ICLR 2023).

The regularizer of one column t of a transport plan is Ω(t) = γ/2 ‖t‖² if t has at most k nonzeros, else ∞. It is not convex,
yet both of its conjugates need only the k largest entries of their argument. Everything here works along the last axis of
``[..., m]`` and is batched over the others; k = None, or any k ≥ m, means no limit. Gradients are right wherever the k-th and
the (k+1)-th largest entries differ (or the k-th one carries no mass).
"""

import torch
from torch import Tensor


def conjugate_nonnegative(s: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int | None = None) -> Tensor:
    """Ω*₊(s) = max over t ≥ 0 of ⟨s, t⟩ - Ω(t) = 1/(2γ) Σ_{i≤k} [s_[i]]₊², with s_[1] ≥ s_[2] ≥ … the sorted entries.

    Args:
        s: ``[..., m]``.
        quadratic_weight: γ > 0.
        max_nonzeros: k ≥ 1.

    Returns:
        ``[...]``.
    """
    return _largest(s, max_nonzeros)[0].clamp(min=0).square().sum(-1) / (2 * quadratic_weight)


def maximizer_nonnegative(s: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int | None = None) -> Tensor:
    """The t that attains ``conjugate_nonnegative``, ``[..., m]``: t_[i] = [s_[i]]₊ / γ for i ≤ k, and 0 otherwise."""
    largest, index = _largest(s, max_nonzeros)
    return torch.zeros_like(s).scatter(-1, index, largest.clamp(min=0) / quadratic_weight)


def conjugate_simplex(s: Tensor, mass: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int | None = None) -> Tensor:
    """Ω*_b(s) = max over t ≥ 0 with Σt = b of ⟨s, t⟩ - Ω(t) = 1/(2γ) Σ_{i≤k, s_[i]≥τ} (s_[i]² - τ²).

    The threshold τ solves Σ_{i≤k} [s_[i] - τ]₊ = γb; it may be negative.

    Args:
        s: ``[..., m]``.
        mass: b ≥ 0, ``[...]``.
        quadratic_weight: γ > 0.
        max_nonzeros: k ≥ 1.

    Returns:
        ``[...]``.
    """
    largest, _ = _largest(s, max_nonzeros)
    threshold = simplex_threshold(largest, quadratic_weight * mass)
    # By Σ [s_[i] - τ]₊ = γb; the squares of s and τ would cancel where both are large.
    excess = (largest - threshold[..., None]).clamp(min=0)
    return excess.square().sum(-1) / (2 * quadratic_weight) + threshold * mass


def maximizer_simplex(s: Tensor, mass: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int | None = None) -> Tensor:
    """The t that attains ``conjugate_simplex``, ``[..., m]``: the sparse simplex projection of s / γ with mass b."""
    return project_sparse_simplex(s / quadratic_weight, mass, max_nonzeros)


def project_sparse_simplex(v: Tensor, mass: Tensor, max_nonzeros: int | None = None) -> Tensor:
    """The point nearest to v of {t ≥ 0, Σt = mass, at most k nonzeros}: keep the k largest, project these on the simplex.

    Exact although the set is not convex (Kyrillidis et al., "Sparse projections onto the simplex", ICML 2013).

    Args:
        v: ``[..., m]``.
        mass: ≥ 0, ``[...]``.
        max_nonzeros: k ≥ 1.

    Returns:
        ``[..., m]``.
    """
    largest, index = _largest(v, max_nonzeros)
    kept = (largest - simplex_threshold(largest, mass)[..., None]).clamp(min=0)
    return torch.zeros_like(v).scatter(-1, index, kept)


def simplex_threshold(descending: Tensor, mass: Tensor) -> Tensor:
    """The τ with Σ [u - τ]₊ = mass: (Σ_{i≤ρ} u_i - mass) / ρ, where ρ is the last r with r u_r > Σ_{i≤r} u_i - mass.

    Args:
        descending: u ``[..., k]``, sorted from the largest entry.
        mass: ≥ 0, ``[...]``.

    Returns:
        ``[...]``.
    """
    excess = descending.cumsum(-1) - mass[..., None]
    rank = torch.arange(1, descending.shape[-1] + 1, device=descending.device)
    # A column without mass keeps no entry: τ is then the largest one.
    support = (descending * rank > excess).sum(-1, keepdim=True).clamp(min=1)
    return (excess.gather(-1, support - 1) / support).squeeze(-1)


def _largest(s: Tensor, max_nonzeros: int | None) -> tuple[Tensor, Tensor]:
    m = s.shape[-1]
    return s.topk(m if max_nonzeros is None else min(max_nonzeros, m), dim=-1)
