"""The regularizer of a learned proximal operator, evaluated by inverting the operator (Fang et al., 2024, section 3)."""

from typing import Literal

import torch
from torch import Tensor

from regbench.methods.shared.proximal.potentials import Potential

Inversion = Literal["convex", "least_squares"]


def invert(
    potential: Potential,
    x: Tensor,
    strong_convexity: float = 0.0,
    *,
    by: Inversion = "convex",
    iterations: int = 2000,
    tolerance: float = 1e-9,
) -> Tensor:
    """Finds y with f(y) = x, shaped like x, by L-BFGS from y = x on all samples together.

    ``convex`` minimizes Σ_b ψ(y_b) - ⟨x_b, y_b⟩, ``least_squares`` Σ_b ‖f(y_b) - x_b‖². Unique where α > 0; for an x out of the
    range of f the residual ‖f(y) - x‖ says so.

    Args:
        potential: ψ, of which parameters are left as they are.
        x: ``[N, ...]``.
        strong_convexity: α.
        by: what is minimized.
        iterations: at most.
        tolerance: largest entry of the gradient at which it ends.
    """
    y = x.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [y], max_iter=iterations, tolerance_grad=tolerance, tolerance_change=0.0, history_size=50, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        if by == "convex":
            loss = potential.scalar(y, strong_convexity).sum() - (x * y).sum()
        else:
            loss = (potential(y, strong_convexity) - x).square().sum()
        (y.grad,) = torch.autograd.grad(loss, y)
        return loss.detach()

    with torch.enable_grad():
        optimizer.step(closure)
    return y.detach()


@torch.no_grad()
def invert_scalar(potential: Potential, x: Tensor, strong_convexity: float = 0.0, *, bound: float = 20.0) -> Tensor:
    """The same for scalars ``[N, 1]`` by bisection, as f is monotone; an end of [-bound, bound] where f stays short of x."""
    low, high = torch.full_like(x, -bound), torch.full_like(x, bound)
    for _ in range(torch.finfo(x.dtype).bits):
        middle = (low + high) / 2
        below = potential(middle, strong_convexity) < x
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def regularizer(potential: Potential, x: Tensor, y: Tensor, strong_convexity: float = 0.0) -> Tensor:
    """R(x) = ⟨x, y⟩ - ½ ‖x‖² - ψ(y) ``[N]`` where y inverts f at x: f is the proximal operator of R, up to a constant."""
    with torch.no_grad():
        inner = ((y - x / 2) * x).flatten(1).sum(1)
        return inner - potential.scalar(y, strong_convexity)
