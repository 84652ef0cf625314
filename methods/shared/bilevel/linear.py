"""Solvers of the adjoint system H q = b, by products with H only. Residuals are absolute; samples stop one by one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regbench.methods.shared.bilevel.problem import ROUNDING, Operator
from regbench.methods.shared.bilevel.samples import dot, norm, spread

# The first damping to try, relative to the largest eigenvalue, and how it grows.
FIRST_DAMPING = 1e-4
DAMPING_GROWTH = 10.0


@dataclass(frozen=True, eq=False)
class LinearSolution:
    """An approximate solution of (H + ζI) q = b.

    Attributes:
        q: ``[N, ...]``.
        residual: ‖(H + ζI) q - b‖ ``[N]``, at least what rounding hides.
        iterations: products with H.
        negative_curvature: whether H was found not to be positive definite, so that the solver stopped early.
        damping: ζ; unless it is 0, q is biased.
    """

    q: Tensor
    residual: Tensor
    iterations: int
    negative_curvature: bool = False
    damping: float = 0.0


# Takes the product with H, b ``[N, ...]``, a start, the residual to reach ``[N]``, L_h ``[N]``, and the most products to take.
LinearSolver = Callable[[Operator, Tensor, Tensor, Tensor, Tensor, int], LinearSolution]


def conjugate_gradients(
    product: Operator, b: Tensor, start: Tensor, target: Tensor, smoothness: Tensor, max_iterations: int
) -> LinearSolution:
    """Conjugate gradients; a start that is worse than zero is replaced by zero."""
    q, r, iterations = _begin(product, b, start)
    p, square = r, dot(r, r)
    negative = torch.zeros_like(target, dtype=torch.bool)
    while True:
        floor = _rounding(q, smoothness)
        active = (square.sqrt() > torch.maximum(target, floor)) & ~negative & square.isfinite()
        if iterations >= max_iterations or not active.any():
            return LinearSolution(q, torch.maximum(square.sqrt(), floor), iterations, bool(negative.any()))
        image = product(p)
        iterations += 1
        curvature = dot(p, image)
        negative = negative | (active & (curvature <= 0))
        active = active & ~negative
        step = torch.where(active, square / curvature, 0.0)
        q, r = q + spread(step, q) * p, r - spread(step, r) * image
        before, square = square, torch.where(active, dot(r, r), square)
        p = r + spread(torch.where(active, square / before, 0.0), p) * p


def damped_conjugate_gradients(
    product: Operator,
    b: Tensor,
    start: Tensor,
    target: Tensor,
    smoothness: Tensor,
    max_iterations: int,
    *,
    damping: float = 0.0,
) -> LinearSolution:
    """Conjugate gradients on (H + ζI) q = b, where ζ starts at ``damping`` and grows until no negative curvature is met."""
    first, iterations = FIRST_DAMPING * smoothness.max().item(), 0
    while True:
        damped = _shifted(product, damping)
        solution = conjugate_gradients(damped, b, start, target, smoothness + damping, max_iterations - iterations)
        iterations += solution.iterations
        if not solution.negative_curvature or iterations >= max_iterations:
            return replace(solution, iterations=iterations, damping=damping)
        damping = max(DAMPING_GROWTH * damping, first)


def neumann_series(
    product: Operator, b: Tensor, start: Tensor, target: Tensor, smoothness: Tensor, max_iterations: int
) -> LinearSolution:
    """The truncated series q = τ Σ_k (I - τH)ᵏ b with τ = 1/L_h, continued from a start that is better than zero.

    The residual after K terms is (I - τH)ᴷ b, so that measuring it costs nothing. It cannot grow unless H has a negative
    eigenvalue; the solver then stops at its best q. A cap of one product is the "identity" approximation q = τ b.
    """
    q, r, iterations = _begin(product, b, start)
    tau, size = 1 / smoothness, norm(r)
    negative = torch.zeros_like(target, dtype=torch.bool)
    while True:
        floor = _rounding(q, smoothness)
        active = (size > torch.maximum(target, floor)) & ~negative & size.isfinite()
        if iterations >= max_iterations or not active.any():
            return LinearSolution(q, torch.maximum(size, floor), iterations, bool(negative.any()))
        after = r - spread(tau, r) * product(r)
        iterations += 1
        negative = negative | (active & (norm(after) > size))
        active = active & ~negative
        q = torch.where(spread(active, q), q + spread(tau, r) * r, q)
        r = torch.where(spread(active, r), after, r)
        size = norm(r)


def _begin(product: Operator, b: Tensor, start: Tensor) -> tuple[Tensor, Tensor, int]:
    """The start, its residual b - Hq computed anew, and the products that took; zero where zero is the better start."""
    if not start.any():
        return torch.zeros_like(b), b, 0
    r = b - product(start)
    better = spread(norm(r) < norm(b), b)
    return torch.where(better, start, 0.0), torch.where(better, r, b), 1


def _shifted(product: Operator, damping: float) -> Operator:
    return lambda v: product(v) + damping * v


def _rounding(q: Tensor, smoothness: Tensor) -> Tensor:
    return ROUNDING * torch.finfo(q.dtype).eps * smoothness * norm(q)
