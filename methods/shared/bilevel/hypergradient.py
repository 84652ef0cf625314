"""What an inexact lower solution tells about f: two bounds of its value, its gradient, and a bound of that gradient's error."""

from dataclasses import dataclass

import torch
from torch import Tensor

from regbench.methods.errors import ConfigError
from regbench.methods.shared.bilevel.estimates import estimate_jacobian_norm
from regbench.methods.shared.bilevel.linear import LinearSolver
from regbench.methods.shared.bilevel.problem import BilevelProblem, Constant
from regbench.methods.shared.bilevel.samples import norm

# Rounding errors in a value of g, in units of its last place.
ROUNDOFF = 4.0


@dataclass(frozen=True)
class Sandwich:
    """Bounds of f(θ) from x̃ with ‖x̃_i - x̂_i‖ ≤ ε_i; the bounds of a mean are the means of the bounds.

    Both also allow for the rounding error of g(x̃), so that no line search takes noise for a decrease.

    Attributes:
        value: g(x̃).
        lower: U⁻ = g(x̃) - ‖∇g(x̃)‖ ε - L_g ε²/2, without the last term if g is convex.
        upper: U⁺ = g(x̃) + ‖∇g(x̃)‖ ε + L_g ε²/2.
    """

    value: float
    lower: float
    upper: float


def sandwich(
    problem: BilevelProblem, x: Tensor, theta: Tensor, accuracy: Tensor, smoothness: Constant, *, convex: bool = False
) -> Sandwich:
    """Bounds f(θ).

    Args:
        problem: gives g.
        x: x̃ ``[N, ...]``.
        theta: θ ``[m]``.
        accuracy: ε ``[N]``.
        smoothness: L_g.
        convex: whether to use that g is convex.
    """
    value = problem.upper(x, theta).detach().mean()
    slope = (norm(problem.upper_gradients(x, theta)[0]) * accuracy).mean()
    curvature = (problem.per_sample(smoothness) / 2 * accuracy**2).mean()
    below, noise = slope if convex else slope + curvature, ROUNDOFF * torch.finfo(x.dtype).eps * value.abs()
    return Sandwich(value.item(), (value - below - noise).item(), (value + slope + curvature + noise).item())


@dataclass(frozen=True, eq=False)
class Hypergradient:
    """An approximation z of ∇f(θ).

    Attributes:
        z: ``[m]``.
        norm: ‖z‖.
        bound: ω ≥ ‖z - ∇f(θ)‖, or an estimate of it where the problem does not bound ‖J‖; None if not asked for.
        adjoint: the solution q of the linear system, ``[N, ...]``.
        accuracy: δ, the largest residual of a sample.
        exact: whether no residual is left, as where ∇_x g = 0: a smaller δ then changes nothing.
        iterations: products with H, and with J and Jᵀ where its norm had to be estimated.
        negative_curvature: whether H was found not to be positive definite.
    """

    z: Tensor
    norm: float
    bound: float | None
    adjoint: Tensor
    accuracy: float
    exact: bool
    iterations: int
    negative_curvature: bool


def hypergradient(
    problem: BilevelProblem,
    x: Tensor,
    theta: Tensor,
    accuracy: Tensor,
    tolerance: float,
    start: Tensor,
    solver: LinearSolver,
    max_iterations: int,
    *,
    certify: bool,
) -> Hypergradient:
    """Computes z = ∇_θ g - Jᵀq at (x̃, θ), where ‖Hq - ∇_x g‖ ≤ δ, and the bound of its error.

    Args:
        problem: gives g and h.
        x: x̃ ``[N, ...]``.
        theta: θ ``[m]``.
        accuracy: ε ≥ ‖x̃ - x̂‖ ``[N]``; only the bound depends on it.
        tolerance: δ.
        start: where the linear solver starts, ``[N, ...]``.
        solver: the linear solver.
        max_iterations: at most so many products with H.
        certify: whether to form the bound.

    Raises:
        ConfigError: the bound is asked for, but H is not positive definite or was damped.
    """
    inner, direct = problem.upper_gradients(x, theta)
    smoothness = problem.per_sample(problem.smoothness(theta))
    target = torch.full_like(smoothness, tolerance)
    solution = solver(problem.hessian(x, theta), inner, start, target, smoothness, max_iterations)
    z = direct - problem.jacobian_transposed(x, theta, solution.q) / len(x)
    bound, products = None, 0
    if certify:
        if solution.negative_curvature or solution.damping:
            raise ConfigError(
                f"the lower problem of {type(problem).__name__} is not strongly convex at this θ: set check_descent to False"
            )
        bound, products = _error_bound(problem, x, theta, inner, accuracy, solution.residual.clamp_min(tolerance))
    return Hypergradient(
        z=z,
        norm=z.norm().item(),
        bound=bound,
        adjoint=solution.q,
        accuracy=solution.residual.clamp_min(tolerance).max().item(),
        exact=not solution.residual.any(),
        iterations=solution.iterations + products,
        negative_curvature=solution.negative_curvature,
    )


def _error_bound(
    problem: BilevelProblem, x: Tensor, theta: Tensor, inner: Tensor, accuracy: Tensor, residual: Tensor
) -> tuple[float, int]:
    """ω = c ε + ‖J‖ δ/μ + L_J L_g ε²/μ with c = L_g ‖J‖/μ + L_H⁻¹ ‖∇g‖ ‖J‖ + L_J ‖∇g‖/μ (+ L_gθ if g couples x and θ).

    Returns:
        The mean over the samples, and the products that the norm of J took.
    """

    def constant(value: Constant | None) -> Tensor:
        return problem.per_sample(0.0 if value is None else value)  # only L_gθ may be unknown, where it is 0

    mu, slope = constant(problem.strong_convexity(theta)), norm(inner)
    upper, jacobian = constant(problem.upper_smoothness(theta)), constant(problem.jacobian_lipschitz(theta))
    inverse, mixed = constant(problem.inverse_hessian_lipschitz(theta)), constant(problem.mixed_smoothness(theta))
    known, products = problem.jacobian_norm(x, theta), 0
    if known is None:
        known, products = estimate_jacobian_norm(problem, x, theta)
    size = constant(known)
    c = upper * size / mu + inverse * slope * size + jacobian * slope / mu + mixed
    bound = c * accuracy + size / mu * residual + jacobian * upper / mu * accuracy**2
    return bound.mean().item(), products
