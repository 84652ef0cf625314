"""Denoising as minimization: a quadratic data term and smoothed absolute values of linear responses, with learned weights."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.imaging.restoration import Restoration
from regbench.methods.imaging.task import TRACK
from regbench.methods.method import Metrics, Track, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.learning import DTYPES, LOWER_SOLVERS, LearnedMethod
from regbench.methods.shared.bilevel.lower import solve_lower
from regbench.methods.shared.bilevel.problem import BilevelProblem, Operator


class Denoising(BilevelProblem):
    """h = ½ ‖x - y‖² + ½ Σ_k w_k Σ_p √((K_k x)_p² + ν_k²) and g = ½ ‖x - x*‖² for each pair of images.

    The linear maps K_k, the weights w_k and the smoothing ν_k depend on θ. μ = 1, because the data term alone has it.

    Args:
        noisy: y ``[N, 1, H, W]``.
        clean: x* ``[N, 1, H, W]``.
        theta0: where learning starts ``[m]``; fixes type and device.
    """

    upper_convex = True

    def __init__(self, noisy: Tensor, clean: Tensor, theta0: Tensor) -> None:
        self.noisy, self.clean, self.theta0 = noisy.to(theta0), clean.to(theta0), theta0
        self.x0 = torch.zeros_like(self.noisy)

    @abstractmethod
    def scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The weights w and smoothings ν, each ``[K, 1, 1]``."""

    @abstractmethod
    def respond(self, x: Tensor, theta: Tensor) -> Tensor:
        """Kx ``[N, K, H, W]`` of images ``[N, 1, H, W]``."""

    @abstractmethod
    def adjoint(self, r: Tensor, theta: Tensor) -> Tensor:
        """Kᵀr ``[N, 1, H, W]`` of responses ``[N, K, H, W]``."""

    @abstractmethod
    def largest_gain(self, theta: Tensor) -> Tensor:
        """An upper bound of the largest eigenvalue of Σ_k (w_k / ν_k) K_kᵀK_k, a scalar."""

    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        """The lower objective h ``[N]``."""
        w, nu = self.scales(theta)
        penalty = w * (self.respond(x, theta).square() + nu**2).sqrt()
        return (x - self.noisy).square().flatten(1).sum(1) / 2 + penalty.flatten(1).sum(1) / 2

    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        """The upper objective g ``[N]``."""
        return (x - self.clean).square().flatten(1).sum(1) / 2

    def residuals(self, x: Tensor, theta: Tensor) -> Tensor:
        """(x - x*) / √(2N) of each pixel; one an image would hide what most of them tell."""
        return ((x - self.clean) / math.sqrt(2 * len(x))).flatten()

    def strong_convexity(self, theta: Tensor) -> float:
        """That of the data term."""
        return 1.0

    def smoothness(self, theta: Tensor) -> Tensor:
        """The second derivative of the smoothed absolute value is at most 1/ν."""
        return 1 + self.largest_gain(theta) / 2

    def upper_smoothness(self, theta: Tensor) -> float:
        """Of ½ ‖x - x*‖²."""
        return 1.0

    def upper_gradients(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """That of g is x - x*, and θ has no direct part."""
        return x - self.clean, torch.zeros_like(theta)

    def lower_gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """∇_x h = x - y + ½ Kᵀ(w r / √(r² + ν²))."""
        w, nu = self.scales(theta)
        r = self.respond(x, theta)
        return x - self.noisy + self.adjoint(w * r * (r.square() + nu**2).rsqrt(), theta) / 2

    def hessian(self, x: Tensor, theta: Tensor) -> Operator:
        """Maps v to v + ½ Kᵀ(w ν² (r² + ν²)^(-3/2) Kv)."""
        w, nu = self.scales(theta)
        curvature = w * nu**2 * (self.respond(x, theta).square() + nu**2).rsqrt() ** 3 / 2
        return lambda v: v + self.adjoint(curvature * self.respond(v, theta), theta)


class VariationalDenoiser(LearnedMethod, Restoration):
    """Restores an image as the minimizer of an energy; its parameters are given, or learned on pairs of the training split.

    The upper objective is half the squared error, summed over pixels, mean over images. Images of the other splits are restored
    with the parameters that were reached. At weight 0 the energy's minimizer is the noisy image itself. The minimizer is the
    proximal operator of the regularizer, so that plug-and-play restoration of measurements minimizes the same energy with their
    residual. Channels are images of their own.
    """

    track: ClassVar[Track] = TRACK

    regularization_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="e^θ₀", differentiable=True, help="weight of the regularizer, or where learning starts"
    )
    training_images: int = hyperparameter(25, ge=1, help="at most so many pairs to learn from, the split's first ones")
    tolerance: float = hyperparameter(
        1e-4, gt=0, help="distance to the minimizer at which restoration stops, root mean square of a pixel"
    )

    @abstractmethod
    def start(self, run: Run) -> Tensor:
        """θ from the settings ``[m]``, float64."""

    @abstractmethod
    def pose(self, noisy: Tensor, clean: Tensor, theta0: Tensor) -> Denoising:
        """The problem of these pairs."""

    def problem(self, run: Run) -> Denoising:
        """The first pairs of the training split."""
        noisy, clean = (_grey(images[: self.training_images]) for images in run.tensors(run.data.train))
        return self.pose(noisy, clean, self.start(run).to(run.device, DTYPES[self.precision]))

    def evaluate(self, theta: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Restores a split's images, starting from the noisy ones."""

        def denoise(images: Tensor) -> Tensor:
            noisy = _grey(images)
            problem = self.pose(noisy, noisy, theta)  # the lower level does not see clean images
            accuracy = self.tolerance * noisy[0].numel() ** 0.5
            solver = LOWER_SOLVERS[self.lower_solver]
            x = solve_lower(problem, problem.noisy, theta, accuracy, solver, self.max_lower_iterations).x
            return x.reshape(images.shape).to(images.dtype)

        return self.assess(denoise, split, run)

    def learned(self, theta: Tensor) -> Metrics:
        """The weight e^θ₀."""
        return {"regularization_weight": theta[0].exp().item()}


def _grey(images: Tensor) -> Tensor:
    """Each channel as an image of its own ``[N C, 1, H, W]``."""
    return images.flatten(0, 1)[:, None]
