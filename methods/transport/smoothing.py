"""The dual of sparsity-constrained transport without its kinks, and how far any dual value may be from the optimum.

A column's conjugate is a maximum over shares, Ω*₊(s) = max_θ Σ_i θ_i [s_i]₊² / 2γ over 0 ≤ θ ≤ 1, Σθ ≤ k, whose maximizer
jumps where entries tie for the k-th place. With -μ/2 ‖θ‖² added the maximizer is unique, the dual smooth (Nesterov, 2005) and
at most μk/2 a column off; its plan T = θ [s]₊ / γ meets both marginals at the maximum. T is a plan of the convexified problem
min ⟨T, C⟩ + γ/2 Σ_j ‖t_j‖²_k, whose optimal value is that of the dual, with ‖t‖²_k = min_θ Σ_i t_i² / θ_i the squared k-support
norm (Argyriou, Foygel and Srebro, 2012). So the value of any such T bounds the dual from above.

All shapes may have leading axes.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

# Relative rounding of a sum.
SLACK = 1e-12


def capped_shares(v: Tensor, total: int) -> Tensor:
    """The point nearest to v ``[..., m]`` of {0 ≤ θ ≤ 1, Σθ ≤ total}: clip(v - ν, 0, 1) with the least feasible ν ≥ 0."""
    m = v.shape[-1]
    # Σ clip(v - ν, 0, 1) grows as ν falls, and bends where an entry enters, at ν = v, and where it is full, at v - 1.
    bends, order = torch.cat([v, v - 1], -1).sort(-1, descending=True)
    slope = torch.where(order < m, 1.0, -1.0).to(v).cumsum(-1)
    filled = pad((slope[..., :-1] * -bends.diff(dim=-1)).cumsum(-1), (1, 0))
    place = (filled < total).sum(-1, keepdim=True).clamp(min=1) - 1
    lacking = total - filled.gather(-1, place)
    threshold = bends.gather(-1, place) - lacking / slope.gather(-1, place).clamp(min=1)
    return (v - threshold.clamp(min=0)).clamp(0, 1)


def smoothed_dual(scores: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int, mu: Tensor) -> tuple[Tensor, Tensor]:
    """The smoothed conjugates of all columns and their plan, the gradient in the scores.

    Args:
        scores: α + β_j 1 - c_j ``[..., n, m]``.
        quadratic_weight: γ.
        max_nonzeros: k < m.
        mu: μ > 0 ``[...]``.

    Returns:
        The sum of the conjugates ``[...]``, and T ``[..., n, m]``.
    """
    positive = scores.clamp(min=0)
    gain, mu = positive.square() / (2 * quadratic_weight), mu[..., None, None]
    theta = capped_shares(gain / mu, max_nonzeros)
    return (theta * gain - mu / 2 * theta.square()).sum((-2, -1)), theta * positive / quadratic_weight


def squared_support_norm(t: Tensor, k: int) -> Tensor:
    """‖t‖²_k of t ≥ 0 ``[..., m]``, as ``[...]``: Σ t² where t has at most k nonzeros, (Σt)² for k = 1, between them else.

    The best shares are min(1, t/ν): with the r largest entries full, Σ_{i≤r} t_[i]² + (Σ_{i>r} t_[i])² / (k - r).
    """
    ordered = t.sort(-1, descending=True).values
    full = pad(ordered.square().cumsum(-1), (1, 0))[..., :k]
    rest = ordered.flip(-1).cumsum(-1).flip(-1)[..., :k]
    level = rest / (k - torch.arange(k, dtype=t.dtype, device=t.device))
    # The first r that leaves no share above 1; r = k - 1 is one, up to rounding.
    first = (ordered[..., :k] <= level * (1 + SLACK)).double().argmax(-1, keepdim=True)
    return (full + rest * level).gather(-1, first)[..., 0]


def repaired(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A plan ``[..., m, n]`` with both marginals near one that misses them (Algorithm 2 of Altschuler et al., NeurIPS 2017)."""
    tiny = torch.finfo(plan.dtype).tiny
    plan = plan * (b / plan.sum(-2).clamp(min=tiny)).clamp(max=1)[..., None, :]
    plan = plan * (a / plan.sum(-1).clamp(min=tiny)).clamp(max=1)[..., :, None]
    lacks_a, lacks_b = (a - plan.sum(-1)).clamp(min=0), (b - plan.sum(-2)).clamp(min=0)
    return plan + lacks_a[..., :, None] * lacks_b[..., None, :] / lacks_a.sum(-1).clamp(min=tiny)[..., None, None]


def convexified_cost(plan: Tensor, cost: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int | None) -> Tensor:
    """⟨T, C⟩ + γ/2 Σ_j ‖t_j‖²_k of plans and costs ``[..., m, n]``, as ``[...]``; of k-sparse plans their own cost."""
    m = plan.shape[-2]
    squares = squared_support_norm(plan.mT, m if max_nonzeros is None else min(max_nonzeros, m)).sum(-1)
    return (plan * cost).sum((-2, -1)) + quadratic_weight / 2 * squares
