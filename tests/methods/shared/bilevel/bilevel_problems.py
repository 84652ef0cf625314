"""Small problems with known solutions."""

import torch
from torch import Tensor

from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.bilevel.quadratic import Quadratic


class Scalar(BilevelProblem):
    """h = ½(x - 2)² + ½ e^θ x² and g = ½(x - 1.5)²: x̂ = 2 / (1 + e^θ), least at θ = -ln 3."""

    upper_convex = True

    def __init__(self, x0: float = 0.0, theta0: float = 0.0) -> None:
        self.x0, self.theta0 = torch.tensor([[x0]], dtype=torch.float64), torch.tensor([theta0], dtype=torch.float64)

    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        return ((x - 2).square() / 2 + theta.exp() * x.square() / 2)[:, 0]

    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        return (x - 1.5).square()[:, 0] / 2

    def strong_convexity(self, theta: Tensor) -> Tensor:
        return 1 + theta.exp()

    smoothness = strong_convexity

    def upper_smoothness(self, theta: Tensor) -> float:
        return 1.0

    def jacobian_lipschitz(self, theta: Tensor) -> Tensor:
        return theta.exp()

    def inverse_hessian_lipschitz(self, theta: Tensor) -> float:
        return 0.0

    def jacobian_norm(self, x: Tensor, theta: Tensor) -> Tensor:
        return (theta.exp() * x.abs())[:, 0]

    def value(self, theta: Tensor) -> Tensor:
        return self.upper((2 / (1 + theta.exp()))[None], theta)[0]


class LogCosh(BilevelProblem):
    """h_i = ½‖x - y_i‖² + Σ_j e^θ_j log cosh x_j and g_i = ½‖x - t_i‖², for samples i; every constant by hand."""

    upper_convex = True

    def __init__(self, samples: int = 5, size: int = 4, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(3)
        self.t = (2 * torch.randn(samples, size, generator=generator, dtype=torch.float64)).to(device, dtype)
        self.y = self.t + torch.randn(samples, size, generator=generator, dtype=torch.float64).to(device, dtype)
        self.x0 = torch.zeros_like(self.y)
        self.theta0 = torch.linspace(-1, 1, size).to(self.y)

    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        return (x - self.y).square().sum(1) / 2 + (theta.exp() * x.cosh().log()).sum(1)

    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        return (x - self.t).square().sum(1) / 2

    def strong_convexity(self, theta: Tensor) -> float:
        return 1.0

    def smoothness(self, theta: Tensor) -> Tensor:
        return 1 + theta.max().exp()

    def upper_smoothness(self, theta: Tensor) -> float:
        return 1.0

    def jacobian_lipschitz(self, theta: Tensor) -> Tensor:
        return theta.max().exp()

    def inverse_hessian_lipschitz(self, theta: Tensor) -> Tensor:
        return theta.max().exp() * 4 / 27**0.5  # the largest |d/dx cosh⁻² x|, and μ = 1

    def jacobian_norm(self, x: Tensor, theta: Tensor) -> Tensor:
        return (theta.exp() * x.tanh().abs()).amax(1)

    def solution(self, theta: Tensor) -> Tensor:
        """By bisection: h'' > 0, and |x̂| ≤ |y|."""
        low, high = -self.y.abs(), self.y.abs()
        for _ in range(100):
            middle = (low + high) / 2
            left = middle - self.y + theta.exp() * middle.tanh() < 0
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        return (low + high) / 2

    def value(self, theta: Tensor) -> Tensor:
        return self.upper(self.solution(theta), theta).mean()

    def gradient(self, theta: Tensor) -> Tensor:
        x = self.solution(theta)
        hessian = 1 + theta.exp() / x.cosh().square()
        return (-(x - self.t) / hessian * theta.exp() * x.tanh()).mean(0)


def gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(seed: int = 0, rows: int = 40, size: int = 4, samples: int = 1) -> Quadratic:
    A1, A2, A3 = (gaussian(rows, size, seed=10 * seed + i) for i in range(3))
    b1, b2 = (gaussian(samples, rows, seed=10 * seed + i) for i in range(3, 5))
    return Quadratic(A1, A2, A3, b1, b2, torch.zeros(samples, size).double(), torch.ones(size).double())


def easy_quadratic() -> Quadratic:
    """Lower condition 25; f has Hessian eigenvalues between 64 and 128."""
    basis = [torch.linalg.qr(gaussian(40, 4, seed=i)).Q for i in range(2)]
    mixing = torch.linalg.qr(gaussian(4, 4, seed=2)).Q * torch.linspace(8, 128**0.5, 4).double()
    A2 = basis[1] * torch.linspace(1, 5, 4).double()
    b1, b2 = gaussian(1, 40, seed=3), gaussian(1, 40, seed=4)
    return Quadratic(basis[0], A2, A2 @ mixing, b1, b2, torch.zeros(1, 4).double(), torch.ones(4).double())


def exact_gradient(problem: Quadratic, theta: Tensor) -> Tensor:
    """Through the closed form, by automatic differentiation."""
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(problem.value(theta), theta)[0]
