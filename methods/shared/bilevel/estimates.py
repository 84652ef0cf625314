"""Estimates, by power iteration, of constants that a problem does not know."""

import torch
from torch import Tensor

from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.bilevel.samples import norm, spread

# A power iteration approaches from below. From a random start in 1000 dimensions, 15 iterations miss the square of a spectral
# norm by less than half on average (Kuczyński and Woźniakowski, 1992), hence the norm by a third.
ITERATIONS = 15
JACOBIAN_SAFETY = 1.5
SMOOTHNESS_SAFETY = 2.0


@torch.enable_grad()
def estimate_jacobian_norm(problem: BilevelProblem, x: Tensor, theta: Tensor) -> tuple[Tensor, int]:
    """Estimates the spectral norm of J at (x, θ), all samples stacked, which bounds that of every single one.

    A safety factor makes it rarely too small, but it is no bound, and no certificate can rest on it.

    Returns:
        The norm ``[]`` times a safety factor, and how many products with J and Jᵀ that took.
    """
    theta = theta.detach().requires_grad_()
    leaf = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(problem.lower(leaf, theta).sum(), leaf, create_graph=True)
    u = torch.zeros_like(x).requires_grad_()
    # Jᵀu is linear in u, so that its derivative in u is J.
    (transposed,) = torch.autograd.grad(gradient, theta, u, create_graph=True, materialize_grads=True)
    v = _start(theta)
    size = v.new_zeros(())
    for _ in range(ITERATIONS):
        (forward,) = torch.autograd.grad(transposed, u, v / v.norm().clamp_min(torch.finfo(v.dtype).tiny), retain_graph=True)
        size = forward.norm()
        (v,) = torch.autograd.grad(gradient, theta, forward, retain_graph=True, materialize_grads=True)
    return JACOBIAN_SAFETY * size, 2 * ITERATIONS


@torch.enable_grad()
def estimate_upper_smoothness(problem: BilevelProblem, x: Tensor, theta: Tensor) -> float:
    """The largest curvature of g at x over all samples, times a safety factor: a stand-in for L_g that certifies nothing."""
    leaf = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(problem.upper(leaf, theta.detach()).sum(), leaf, create_graph=True)
    if not gradient.requires_grad:
        return 0.0
    v, size = _start(x), x.new_zeros(len(x))
    for _ in range(ITERATIONS):
        v = v / spread(norm(v).clamp_min(torch.finfo(v.dtype).tiny), v)
        (v,) = torch.autograd.grad(gradient, leaf, v, retain_graph=True)
        size = norm(v)
    return SMOOTHNESS_SAFETY * size.max().item()


def _start(like: Tensor) -> Tensor:
    # The same vector every time, so that a resumed run repeats the estimate.
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(0)).to(like.device)
