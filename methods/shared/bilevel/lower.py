"""Solvers of the lower problem. Each stops as soon as ‖∇_x h‖ is small enough at the very point that it returns.

For a μ-strongly convex h, ‖∇_x h(x̃)‖ ≤ ε μ implies ‖x̃ - x̂‖ ≤ ε. Samples stop one by one; the cost of an iteration is one
gradient of all of them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.bilevel.samples import dot, norm, spread

ARMIJO = 1e-4
MEMORY = 10

# Rounding errors in a value of h, in units of its last place.
ROUNDOFF = 10.0


@dataclass(frozen=True, eq=False)
class LowerSolution:
    """An approximate minimizer of h(·, θ).

    Attributes:
        x: x̃ ``[N, ...]``.
        residual: ‖∇_x h(x̃, θ)‖ ``[N]``.
        iterations: evaluations of the gradient.
    """

    x: Tensor
    residual: Tensor
    iterations: int

    def accuracy(self, problem: BilevelProblem, theta: Tensor, tolerance: float) -> Tensor:
        """The bound on ‖x̃ - x̂‖ ``[N]``: the tolerance where it was reached, else what was reached."""
        return (self.residual / problem.per_sample(problem.strong_convexity(theta))).clamp_min(tolerance)


# Takes a problem, a start ``[N, ...]``, θ, the gradient norm to reach ``[N]``, and the most gradients that it may take.
LowerSolver = Callable[[BilevelProblem, Tensor, Tensor, Tensor, int], LowerSolution]


def solve_lower(
    problem: BilevelProblem, x: Tensor, theta: Tensor, tolerance: float, solver: LowerSolver, max_iterations: int
) -> LowerSolution:
    """Minimizes h(·, θ) from x until ‖∇_x h‖ ≤ ε μ, where ε is the tolerance, or until rounding or the cap ends it."""
    target = tolerance * problem.per_sample(problem.strong_convexity(theta))
    return solver(problem, x, theta, torch.maximum(target, problem.rounding(x, theta)), max_iterations)


def gradient_descent(problem: BilevelProblem, x: Tensor, theta: Tensor, target: Tensor, max_iterations: int) -> LowerSolution:
    """Gradient descent with step 1/L_h."""
    step = spread(1 / problem.per_sample(problem.smoothness(theta)), x)
    for iterations in range(1, max_iterations + 1):
        gradient = problem.lower_gradient(x, theta)
        residual = norm(gradient)
        active = _active(residual, target)
        if not active.any():
            break
        if iterations < max_iterations:
            x = torch.where(spread(active, x), x - step * gradient, x)
    return LowerSolution(x, residual, iterations)


def fista(problem: BilevelProblem, x: Tensor, theta: Tensor, target: Tensor, max_iterations: int) -> LowerSolution:
    """Accelerated gradient descent for strong convexity (Chambolle and Pock, 2016, Algorithm 5).

    Its momentum restarts where it points uphill (O'Donoghue and Candès, 2015), which adapts it to a curvature above μ.
    """
    smoothness = problem.per_sample(problem.smoothness(theta))
    step, ratio = spread(1 / smoothness, x), problem.per_sample(problem.strong_convexity(theta)) / smoothness
    one = torch.ones_like(ratio)
    t, y = one, x
    for iterations in range(1, max_iterations + 1):
        gradient = problem.lower_gradient(y, theta)
        residual = norm(gradient)
        active = _active(residual, target)
        if not active.any():
            break
        if iterations < max_iterations:
            new = y - step * gradient
            t = torch.where(dot(gradient, new - x) > 0, one, t)
            curved = 1 - ratio * t**2
            after = (curved + (curved**2 + 4 * t**2).sqrt()) / 2
            momentum = (t - 1) / after * (1 - ratio * after) / (1 - ratio).clamp_min(torch.finfo(x.dtype).eps)
            y = torch.where(spread(active, x), new + spread(momentum, x) * (new - x), y)
            x, t = new, after
    return LowerSolution(y, residual, iterations)


def lbfgs(problem: BilevelProblem, x: Tensor, theta: Tensor, target: Tensor, max_iterations: int) -> LowerSolution:
    """L-BFGS with a backtracking line search.

    Close to the minimizer a decrease of h drowns in rounding; there the slope at the new point decides (the approximate Wolfe
    condition of Hager and Zhang, 2005), so that the gradient still reaches its target.
    """
    scale = 1 / problem.per_sample(problem.smoothness(theta))
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)
    value, gradient, iterations = problem.lower(x, theta).detach(), problem.lower_gradient(x, theta), 1
    while True:
        residual = norm(gradient)
        active = _active(residual, target)
        if iterations >= max_iterations or not active.any():
            return LowerSolution(x, residual, iterations)
        direction = -_inverse_hessian(pairs, scale, gradient)
        slope = dot(gradient, direction)
        slack = ROUNDOFF * torch.finfo(x.dtype).eps * value.abs()
        step, pending, trial = torch.ones_like(slope), active, x
        while True:
            trial = torch.where(spread(pending, x), x + spread(step, x) * direction, trial)
            trial_value, trial_gradient = problem.lower(trial, theta).detach(), problem.lower_gradient(trial, theta)
            iterations += 1
            decreases = trial_value <= value + ARMIJO * step * slope
            flattens = (dot(trial_gradient, direction) <= (2 * ARMIJO - 1) * slope) & (trial_value <= value + slack)
            pending = pending & ~(decreases | flattens)
            if iterations >= max_iterations or not pending.any():
                break
            step = torch.where(pending, step / 2, step)
        s, y = trial - x, trial_gradient - gradient
        curvature, size = dot(s, y), dot(y, y)
        usable = curvature > 0
        pairs.append((s, y, torch.where(usable, 1 / curvature, 0.0)))
        scale = torch.where(usable, curvature / size, scale)
        x, value, gradient = trial, trial_value, trial_gradient


def _inverse_hessian(pairs: deque[tuple[Tensor, Tensor, Tensor]], scale: Tensor, gradient: Tensor) -> Tensor:
    """The two-loop recursion. A pair with weight 0 leaves its sample as it is."""
    factors = []
    for s, y, weight in reversed(pairs):
        factors.append(weight * dot(s, gradient))
        gradient = gradient - spread(factors[-1], y) * y
    result = spread(scale, gradient) * gradient
    for (s, y, weight), factor in zip(pairs, reversed(factors), strict=True):
        result = result + spread(factor - weight * dot(y, result), s) * s
    return result


def _active(residual: Tensor, target: Tensor) -> Tensor:
    """Which samples to go on with; one that diverged cannot be saved."""
    return (residual > target) & residual.isfinite()
