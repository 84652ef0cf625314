"""First-order solvers of composite problems F = Ψ + λ ‖·‖₁, each an endless iterator over its iterates.

Starting points and iterates are vectors ``[q]``. Only differences of evaluations tell solvers apart: they see a problem through
``Composite``, which does not say what it is.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

Solver = Literal[
    "accelerated",
    "accelerated_released",
    "accelerated_restart",
    "ghadimi_lan",
    "fista_released",
    "proximal_gradient",
    "proximal_ncg",
]

# Iterations between two looks at the optimality condition, which costs as much as an iteration.
CHECK_EVERY = 10
# Share of a proximal gradient step's guaranteed decrease that a conjugate step must reach.
SUFFICIENT_DECREASE = 1e-4
HALVINGS = 5
# Relative to the objective: what its evaluation may be wrong by.
ROUNDING = 1e-15


class Composite(Protocol):
    """F = Ψ + g with a smooth Ψ and a g whose proximal map is known.

    Attributes:
        lipschitz: L, a Lipschitz constant of ∇Ψ, or a first guess of one.
        convex_lipschitz: the same without the concave part of the penalty.
    """

    lipschitz: float
    convex_lipschitz: float

    def value(self, x: Tensor) -> Tensor:
        """F, a scalar."""

    def gradient(self, x: Tensor) -> Tensor:
        """∇Ψ ``[q]``."""

    def prox(self, x: Tensor, step: float) -> Tensor:
        """argmin_z g(z) + ‖z - x‖² / (2 step), ``[q]``."""


def residual(problem: Composite, x: Tensor) -> float:
    """‖x - prox(x - ∇Ψ(x) / L)‖∞: 0 exactly at stationary points."""
    step = 1 / problem.lipschitz
    return (x - problem.prox(x - step * problem.gradient(x), step)).abs().max().item()


def minimize(iterates: Iterator[Tensor], problem: Composite, tolerance: float, limit: int) -> tuple[Tensor, int]:
    """Iterates until the residual is at most the tolerance, or up to a limit; returns the last iterate and their number."""
    for number, x in enumerate(iterates, start=1):
        if number >= limit or (number % CHECK_EVERY == 0 and residual(problem, x) <= tolerance):
            return x, number
    raise AssertionError("solvers never end by themselves")


def proximal_gradient(problem: Composite, start: Tensor) -> Iterator[Tensor]:
    """X ← prox(x - ∇Ψ(x) / L) (ISTA)."""
    x, step = start, 1 / problem.lipschitz
    while True:
        x = problem.prox(x - step * problem.gradient(x), step)
        yield x


def accelerated(
    problem: Composite, start: Tensor, *, skip_first: bool = False, output: Literal["ag", "md"] = "ag", restart: bool = False
) -> Iterator[Tensor]:
    """The accelerated gradient method with optimized damping (Yang et al., 2023).

    α₁ = 1, α_k = 2 / (1 + √(1 + 4/α_{k-1}²)), δ = 0.99 / L, λ_k = δ/α_k; with g = ∇Ψ(x^md) at
    x^md = (1 - α_k) x^ag + α_k x: x ← prox(x - λ_k g) and x^ag ← prox(x^md - δ g). The released code (the notebooks of
    nonconvexAG and fastHDMI) has all three options on.

    Args:
        problem: what to minimize.
        start: x₀.
        skip_first: whether α is updated before its first use, so that it starts at 0.618 (released code).
        output: what is yielded: x^ag (paper) or x^md (released code).
        restart: whether α returns to 1 when x^md moved less than in the step before, three steps or more after the last
            return; x stays what it is (released code).
    """
    x = aggregate = middle = start
    delta, alpha = 0.99 / problem.lipschitz, 1.0
    moved = last = torch.ones((), dtype=start.dtype, device=start.device)
    restarted = 0
    for k in itertools.count(1):
        if restart and moved < last and k - restarted >= 3:
            alpha, restarted = 1.0, k
        elif k > 1 or skip_first:
            alpha = next_damping(alpha)
        before, middle = middle, (1 - alpha) * aggregate + alpha * x
        moved, last = (middle - before).norm(), moved
        gradient = problem.gradient(middle)
        x = problem.prox(x - delta / alpha * gradient, delta / alpha)
        aggregate = problem.prox(middle - delta * gradient, delta)
        yield aggregate if output == "ag" else middle


def next_damping(alpha: float) -> float:
    """2 / (1 + √(1 + 4/α²))."""
    return 2 / (1 + math.sqrt(1 + 4 / alpha**2))


def ghadimi_lan(problem: Composite, start: Tensor) -> Iterator[Tensor]:
    """The same scheme with its original constants α_k = 2/(k + 1), δ = 1/2L, λ_k = kδ/2 (Ghadimi and Lan, 2016)."""
    x = aggregate = start
    delta, k = 0.5 / problem.lipschitz, 0
    while True:
        k += 1
        middle = (1 - 2 / (k + 1)) * aggregate + 2 / (k + 1) * x
        gradient = problem.gradient(middle)
        x = problem.prox(x - k * delta / 2 * gradient, k * delta / 2)
        aggregate = problem.prox(middle - delta * gradient, delta)
        yield aggregate


def fista(problem: Composite, start: Tensor) -> Iterator[Tensor]:
    """FISTA with the step of the convex part alone, the loop of the package nonconvexAG.

    Not that package's errors in the slopes of the penalties, nor its restart, whose condition ‖x - x₋‖² < 0 never holds.
    """
    x = point = start
    step, t = 1 / problem.convex_lipschitz, 1.0
    while True:
        before, x = x, problem.prox(point - step * problem.gradient(point), step)
        yield x
        t, last = (1 + math.sqrt(1 + 4 * t**2)) / 2, t
        point = x + (last - 1) / t * (x - before)


def proximal_ncg(problem: Composite, start: Tensor, *, growth: float = 1.0) -> Iterator[Tensor]:
    """Proximal nonlinear conjugate gradient: the objective never increases, up to rounding (equation 12, a reconstruction).

    With the gradient mapping G = (x - prox(x - t∇Ψ)) / t, the last displacement m over t, and Dai and Yuan's coefficient
    b = clip(‖G‖² / |mᵀ(G - G₋)|, 0, 0.99): x⁺ = prox(x + t(-∇Ψ + b m)), with b halved and at last 0 until F falls by
    c ‖x⁺ - x‖² / 2t.

    Args:
        problem: what to minimize.
        start: x₀.
        growth: factor by which the step t grows after a success; 1 where 1/L always works. Above 1, a failure halves t with b.
    """
    x, step, value = start, 1 / problem.lipschitz, problem.value(start)
    momentum = torch.zeros_like(start)
    last: Tensor | None = None
    while True:
        gradient = problem.gradient(x)
        mapping = (x - problem.prox(x - step * gradient, step)) / step
        share = 0.0
        if last is not None:
            share = (mapping.square().sum() / (momentum @ (mapping - last)).abs()).nan_to_num(0.0).clamp(max=0.99).item()
        halvings = 0
        rounding = ROUNDING * max(1.0, abs(value.item()))
        while True:
            trial = problem.prox(x + step * (share * momentum - gradient), step)
            reached = problem.value(trial)
            needed = SUFFICIENT_DECREASE / (2 * step) * (trial - x).square().sum()
            # A step of 1/L without momentum always descends; a step of 0 cannot, nor one along a gradient that is not finite.
            stuck = torch.equal(trial, x) or not gradient.isfinite().all()
            if reached <= value - needed + rounding or (growth == 1 and not share) or stuck:
                break
            halvings += 1
            share = share / 2 if halvings < HALVINGS else 0.0
            if growth > 1:
                step /= 2
        momentum, last = (trial - x) / step, mapping
        x, value, step = trial, reached, step * (growth if halvings == 0 else 1.0)
        yield x


SOLVERS: dict[Solver, Callable[[Composite, Tensor], Iterator[Tensor]]] = {
    "accelerated": accelerated,
    "accelerated_released": lambda problem, start: accelerated(problem, start, skip_first=True, output="md", restart=True),
    "accelerated_restart": lambda problem, start: accelerated(problem, start, restart=True),
    "ghadimi_lan": ghadimi_lan,
    "fista_released": fista,
    "proximal_gradient": proximal_gradient,
    "proximal_ncg": proximal_ncg,
}
