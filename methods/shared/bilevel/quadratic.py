"""The quadratic bilevel problem of Salehi et al., Section 4.1: it has a closed form, and shows how a problem is written."""

import math

import numpy as np
import torch
from torch import Tensor

from regbench.methods.shared.bilevel.problem import BilevelProblem, Operator


class Quadratic(BilevelProblem):
    """h = ½ ‖A₂x + A₃θ - b₂‖² and g = ½ ‖A₁x - b₁‖²; one lower problem for each row of b₁ and b₂.

    Args:
        A1, A2, A3: ``[n, d]``, ``[n, d]`` of full column rank, ``[n, m]``.
        b1, b2: ``[N, n]``.
        x0: ``[N, d]``.
        theta0: ``[m]``.
    """

    upper_convex = True

    def __init__(self, A1: Tensor, A2: Tensor, A3: Tensor, b1: Tensor, b2: Tensor, x0: Tensor, theta0: Tensor) -> None:
        self.A1, self.A2, self.A3, self.b1, self.b2, self.x0, self.theta0 = A1, A2, A3, b1, b2, x0, theta0
        self.H, self.J = A2.mT @ A2, A2.mT @ A3
        eigenvalues = torch.linalg.eigvalsh(self.H)
        self.mu, self.L_h = eigenvalues[0].item(), eigenvalues[-1].item()
        self.L_g = torch.linalg.matrix_norm(A1, 2).item() ** 2
        self.J_norm = torch.linalg.matrix_norm(self.J, 2).item()

    def to(self, place: torch.device | torch.dtype) -> "Quadratic":
        """The same problem on a device, or in a floating type."""
        parts = (self.A1, self.A2, self.A3, self.b1, self.b2, self.x0, self.theta0)
        return Quadratic(*(part.to(place) for part in parts))

    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        """½ ‖A₂x + A₃θ - b₂‖² ``[N]``."""
        return (x @ self.A2.mT + self.A3 @ theta - self.b2).square().sum(1) / 2

    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        """½ ‖A₁x - b₁‖² ``[N]``."""
        return (x @ self.A1.mT - self.b1).square().sum(1) / 2

    def residuals(self, x: Tensor, theta: Tensor) -> Tensor:
        """(A₁x - b₁) / √(2N) ``[N n]``."""
        return ((x @ self.A1.mT - self.b1) / math.sqrt(2 * len(x))).flatten()

    def strong_convexity(self, theta: Tensor) -> float:
        """The least eigenvalue of H = A₂ᵀA₂."""
        return self.mu

    def smoothness(self, theta: Tensor) -> float:
        """The largest eigenvalue of H."""
        return self.L_h

    def upper_smoothness(self, theta: Tensor) -> float:
        """The largest eigenvalue of A₁ᵀA₁."""
        return self.L_g

    def jacobian_lipschitz(self, theta: Tensor) -> float:
        """J = A₂ᵀA₃ is constant."""
        return 0.0

    def inverse_hessian_lipschitz(self, theta: Tensor) -> float:
        """H is constant."""
        return 0.0

    def jacobian_norm(self, x: Tensor, theta: Tensor) -> float:
        """The largest singular value of J."""
        return self.J_norm

    def lower_gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """Hx + Jθ - A₂ᵀb₂: like the next two a closed form of what automatic differentiation would give, but much faster."""
        return x @ self.H + self.J @ theta - self.b2 @ self.A2

    def hessian(self, x: Tensor, theta: Tensor) -> Operator:
        """The product with H."""
        return lambda v: v @ self.H

    def jacobian_transposed(self, x: Tensor, theta: Tensor, q: Tensor) -> Tensor:
        """Σ_i Jᵀq_i."""
        return q.sum(0) @ self.J

    def solution(self, theta: Tensor) -> Tensor:
        """x̂(θ) = H⁻¹ A₂ᵀ (b₂ - A₃θ), ``[N, d]``."""
        return least_squares(self.A2, (self.b2 - self.A3 @ theta).mT).mT

    def value(self, theta: Tensor) -> Tensor:
        """f(θ), a scalar."""
        return self.upper(self.solution(theta), theta).mean()

    def minimizer(self) -> Tensor:
        """θ* ``[m]``, by least squares: A₁x̂(θ) - b₁ is affine in θ."""
        through = self.A1 @ least_squares(self.A2, self.A3)  # [n, m]
        free = (self.solution(torch.zeros_like(self.theta0)) @ self.A1.mT - self.b1).mean(0)
        return least_squares(through, free[:, None])[:, 0]


def least_squares(A: Tensor, B: Tensor) -> Tensor:
    """The X ``[d, k]`` with the least ‖AX - B‖, for A ``[n, d]`` of full column rank; by QR, the same bits in every call."""
    Q, R = torch.linalg.qr(A)
    return torch.linalg.solve_triangular(R, Q.mT @ B, upper=True)


def random_quadratic(seed: int = 0, rows: int = 1000, size: int = 10) -> Quadratic:
    """The instance of Section 4.1: uniform matrices, data of known solutions with noise 0.01, θ₀ = 1; float64."""
    rng = np.random.default_rng(seed)
    # Copies: NumPy's memory is aligned differently from time to time, and products with it are then rounded differently.
    A1, A2, A3 = (torch.tensor(rng.uniform(size=(rows, size))) for _ in range(3))
    x1, x2, truth = (torch.tensor(rng.uniform(size=size)) for _ in range(3))
    y1, y2 = (torch.tensor(rng.standard_normal(rows)) for _ in range(2))
    b1, b2 = A1 @ x1 + 0.01 * y1, A2 @ x2 + A3 @ truth + 0.01 * y2
    return Quadratic(A1, A2, A3, b1[None], b2[None], x2[None], torch.ones(size, dtype=torch.float64))


def conditioned_quadratic(condition: float, seed: int = 1, rows: int = 80, size: int = 4) -> Quadratic:
    """An instance whose three matrices have singular values from 1 to ``condition``, equally spaced in logarithm; float64.

    The Hessian then has the square of that condition. Objectives are twice those of ``Quadratic``, as in the authors' study of
    when adaptive accuracy pays.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, math.log10(condition), size, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    A1, A2, A3 = (math.sqrt(2) * torch.linalg.qr(normal(rows, size)).Q * scales for _ in range(3))
    b1, b2 = (math.sqrt(2) * normal(1, rows) for _ in range(2))
    return Quadratic(A1, A2, A3, b1, b2, torch.zeros(1, size, dtype=torch.float64), torch.ones(size, dtype=torch.float64))
