"""Total variation denoising, with a weight and a smoothing that can be learned."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.imaging.variational import Denoising, VariationalDenoiser
from regbench.methods.method import Metrics, Paper, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.samples import dot, norm


class TotalVariationProblem(Denoising):
    """h = ½ ‖x - y‖² + ½ e^θ₀ Σ_p (√((D₁x)_p² + ν²) + √((D₂x)_p² + ν²)) with ν = e^θ₁.

    D₁ and D₂ are forward differences of rows and columns, 0 at the last one.
    """

    def scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The same weight and smoothing in both directions."""
        weight, smoothing = theta.exp()
        return weight.expand(2, 1, 1), smoothing.expand(2, 1, 1)

    def respond(self, x: Tensor, theta: Tensor) -> Tensor:
        """Both differences ``[N, 2, H, W]``."""
        rows = torch.nn.functional.pad(x.diff(dim=2), (0, 0, 0, 1))
        columns = torch.nn.functional.pad(x.diff(dim=3), (0, 1))
        return torch.cat([rows, columns], 1)

    def adjoint(self, r: Tensor, theta: Tensor) -> Tensor:
        """D₁ᵀr₁ + D₂ᵀr₂: backward differences, negative."""
        rows, columns = r[:, :1, :-1], r[:, 1:, :, :-1]
        pad = torch.nn.functional.pad
        return -pad(rows, (0, 0, 1, 1)).diff(dim=2) - pad(columns, (1, 1)).diff(dim=3)

    def largest_gain(self, theta: Tensor) -> Tensor:
        """‖D₁‖² + ‖D₂‖² ≤ 8."""
        return 8 * (theta[0] - theta[1]).exp()

    def jacobian_transposed(self, x: Tensor, theta: Tensor, q: Tensor) -> Tensor:
        """Σ_i J_iᵀq_i."""
        return torch.stack([dot(column, q).sum() for column in self.jacobian(x, theta)])

    def jacobian_norm(self, x: Tensor, theta: Tensor) -> Tensor:
        """Exact: the root of the larger eigenvalue of the 2 × 2 Gram matrix, ``[N]``."""
        a, b = self.jacobian(x, theta)
        largest = (norm(a) ** 2 + norm(b) ** 2) / 2
        spread_out = ((norm(a) ** 2 - norm(b) ** 2) ** 2 / 4 + dot(a, b) ** 2).sqrt()
        return (largest + spread_out).sqrt()

    def jacobian_lipschitz(self, theta: Tensor) -> Tensor:
        """Both columns have the form ½ e^θ₀ Dᵀs(Dx) with |s'| ≤ 1/ν."""
        return math.sqrt(2) * self.largest_gain(theta) / 2

    def inverse_hessian_lipschitz(self, theta: Tensor) -> Tensor:
        """L_H / μ²: the third derivative of √(t² + ν²) is largest at t = ν/2, and |D(x - x')| ≤ √2 ‖x - x'‖ at every pixel."""
        third = 1.5 / 1.25**2.5 * (-2 * theta[1]).exp()
        return theta[0].exp() / 2 * 8 * third * math.sqrt(2)

    def jacobian(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of ∇_x h in θ₀ and θ₁, ``[N, 1, H, W]`` each."""
        w, nu = self.scales(theta)
        r = self.respond(x, theta)
        inverse = (r.square() + nu**2).rsqrt()
        return self.adjoint(w * r * inverse, theta) / 2, -self.adjoint(w * nu**2 * r * inverse**3, theta) / 2


class TotalVariation(VariationalDenoiser):
    """Penalizes the absolute differences of neighbouring pixels, smoothed at 0 (Rudin, Osher and Fatemi; anisotropic form).

    x̂ = argmin ½ ‖x - y‖² + ½ w Σ_p (√((D₁x)_p² + ν²) + √((D₂x)_p² + ν²)). The weight w and the smoothing ν are learned
    together, as their logarithms; the larger ν, the closer the penalty is to a quadratic one of weight w/ν.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Nonlinear total variation based noise removal algorithms", "Rudin, Osher, Fatemi", 1992, "Physica D"
    )

    search_range: ClassVar[tuple[float, float] | None] = (-8.0, 0.0)
    bounds_jacobian: ClassVar[bool] = True

    smoothing: float = hyperparameter(0.005, gt=0, help="ν, below which a difference counts quadratically; learned too")

    def start(self, run: Run) -> Tensor:
        """(log w, log ν)."""
        return torch.tensor([self.regularization_weight, self.smoothing], dtype=torch.float64).log()

    def pose(self, noisy: Tensor, clean: Tensor, theta0: Tensor) -> TotalVariationProblem:
        """The problem of these pairs."""
        return TotalVariationProblem(noisy, clean, theta0)

    def learned(self, theta: Tensor) -> Metrics:
        """The weight and the smoothing."""
        return super().learned(theta) | {"smoothing": theta[1].exp().item()}
