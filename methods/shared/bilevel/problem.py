"""What a bilevel problem is. ``quadratic.py`` shows how little a new one needs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.errors import ConfigError
from regbench.methods.shared.bilevel.samples import norm

# A constant of all samples, or one of each, ``[N]``.
Constant = float | Tensor

# A linear map of tensors ``[N, ...]`` that treats samples apart.
Operator = Callable[[Tensor], Tensor]

# How far rounding in a gradient or a Hessian product may exceed the unit roundoff.
ROUNDING = 10.0

NAMES = {
    "upper_smoothness": "L_g",
    "jacobian_lipschitz": "L_J",
    "inverse_hessian_lipschitz": "L_H⁻¹",
    "mixed_smoothness": "L_gθ",
}


class BilevelProblem(ABC):
    """Minimizes f(θ) = mean_i g_i(x̂_i(θ), θ), where x̂_i(θ) minimizes h_i(·, θ), over θ ``[m]``.

    x is ``[N, ...]``: one lower problem a sample i. Where the lower problem does not split into samples, N is 1. ``x0`` and
    ``theta0`` fix shape, floating type (float64, or float32 with the accuracy that it allows) and device of everything.

    **A problem must** set ``x0`` and ``theta0`` and write ``lower``, ``upper`` (both twice differentiable, with ``torch``
    operations), ``strong_convexity`` and ``smoothness``. A strong convexity that is too large voids every guarantee, one that
    is too small only costs time; for the smoothness it is the other way round.

    **It may** give the constants that certify a descent direction (``upper_smoothness``, ``jacobian_lipschitz``,
    ``inverse_hessian_lipschitz``; ``mixed_smoothness`` if g couples x and θ), an exact ``jacobian_norm``, and closed forms of
    the derivatives, which otherwise come from automatic differentiation; no Hessian is ever formed. ``residuals`` may be finer
    than one a sample, where g is a sum of squares or of other terms that are not negative.

    Attributes:
        x0: where the first lower solve starts, ``[N, ...]``.
        theta0: where learning starts, ``[m]``.
        upper_convex: whether every g_i is convex in x.
        estimated: whether μ or L_h are only estimates (neural networks), so that nothing can be certified.
    """

    x0: Tensor
    theta0: Tensor
    upper_convex: ClassVar[bool] = False
    estimated: ClassVar[bool] = False

    @abstractmethod
    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        """h_i(x_i, θ), ``[N]``."""

    @abstractmethod
    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        """g_i(x_i, θ), ``[N]``; most problems leave θ unused."""

    @abstractmethod
    def strong_convexity(self, theta: Tensor) -> Constant:
        """μ(θ) > 0: the least eigenvalue that the Hessian of h can have."""

    @abstractmethod
    def smoothness(self, theta: Tensor) -> Constant:
        """L_h(θ): the largest eigenvalue that the Hessian of h can have."""

    def residuals(self, x: Tensor, theta: Tensor) -> Tensor:
        """Residuals r ``[r]`` with f = ‖r‖², for search without gradients: √(g_i / N) of each sample, where no g_i < 0."""
        return (self.upper(x, theta) / len(x)).sqrt()

    def upper_smoothness(self, theta: Tensor) -> Constant | None:
        """L_g: Lipschitz constant of ∇_x g; None is unknown."""
        return None

    def jacobian_lipschitz(self, theta: Tensor) -> Constant | None:
        """L_J: Lipschitz constant of x ↦ J, where J = ∇²_xθ h; None is unknown."""
        return None

    def inverse_hessian_lipschitz(self, theta: Tensor) -> Constant | None:
        """L_H⁻¹: Lipschitz constant of x ↦ H⁻¹, where H = ∇²_xx h; None is unknown."""
        return None

    def mixed_smoothness(self, theta: Tensor) -> Constant | None:
        """L_gθ: Lipschitz constant of x ↦ ∇_θ g; None is unknown. Not asked for where ∇_θ g does not depend on x."""
        return None

    def jacobian_norm(self, x: Tensor, theta: Tensor) -> Constant | None:
        """The spectral norm of J, exact or an upper bound; None is unknown, and then it is estimated by power iteration."""
        return None

    @torch.enable_grad()
    def lower_gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """∇_x h, ``[N, ...]``."""
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.lower(x, theta.detach()).sum(), x)
        return gradient

    @torch.enable_grad()
    def upper_gradients(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """∇_x g ``[N, ...]`` of each sample, and the mean of ∇_θ g ``[m]`` (zero where g leaves θ unused)."""
        x, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
        inner, direct = torch.autograd.grad(self.upper(x, theta).sum(), (x, theta), materialize_grads=True)
        return inner, direct / len(x)

    @torch.enable_grad()
    def hessian(self, x: Tensor, theta: Tensor) -> Operator:
        """The product with H at (x, θ)."""
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.lower(x, theta.detach()).sum(), x, create_graph=True)

        def product(v: Tensor) -> Tensor:
            (result,) = torch.autograd.grad(gradient, x, v, retain_graph=True)
            return result

        return product

    @torch.enable_grad()
    def jacobian_transposed(self, x: Tensor, theta: Tensor, q: Tensor) -> Tensor:
        """Σ_i J_iᵀ q_i ``[m]`` at (x, θ), for q ``[N, ...]``: the gradient of ⟨∇_x h, q⟩ in θ."""
        x, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.lower(x, theta).sum(), x, create_graph=True)
        (product,) = torch.autograd.grad(gradient, theta, q, materialize_grads=True)
        return product

    def per_sample(self, constant: Constant) -> Tensor:
        """A constant as a tensor ``[N]`` of the problem's type."""
        return torch.as_tensor(constant, dtype=self.x0.dtype, device=self.x0.device).expand(len(self.x0))

    def rounding(self, v: Tensor, theta: Tensor) -> Tensor:
        """How small the rounding error lets ‖Hv - b‖ become, ``[N]``: the floor of every accuracy."""
        return ROUNDING * torch.finfo(v.dtype).eps * self.per_sample(self.smoothness(theta)) * norm(v)

    def require_certificate(self) -> None:
        """Checks that the error bound of the hypergradient can be formed.

        Raises:
            ConfigError: a constant is unknown or only estimated.
        """
        if self.estimated:
            raise ConfigError(f"{type(self).__name__} only estimates its convexity: set check_descent to False")
        needed = list(NAMES) if self.couples() else list(NAMES)[:3]
        if missing := [f"{name} ({NAMES[name]})" for name in needed if getattr(self, name)(self.theta0) is None]:
            raise ConfigError(f"{type(self).__name__} lacks {', '.join(missing)}: define it, or set check_descent to False")

    @torch.enable_grad()
    def couples(self) -> bool:
        """Whether ∇_θ g depends on x."""
        x, theta = self.x0.detach().requires_grad_(), self.theta0.detach().requires_grad_()
        value = self.upper(x, theta).sum()
        (direct,) = torch.autograd.grad(value, theta, create_graph=True, materialize_grads=True)
        return direct.requires_grad and torch.autograd.grad(direct.sum(), x, allow_unused=True)[0] is not None
