"""The negative log-likelihood of a linear mixed model with Gaussian or multivariate t clusters, as a composite problem."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regbench.methods.sparse_regression.penalties import Penalty, soft_threshold

# Least residual variance, of an outcome's of 1: with more covariates than rows, the likelihood grows without bound as it falls.
LEAST_VARIANCE = 1e-3
# First guess of the gradient's Lipschitz constant; the solver adapts its step.
FIRST_LIPSCHITZ = 10.0


def tsallis_index(nu: float, size: float) -> float:
    """Q = (ν + m + 2) / (ν + m): the t law of ν in m dimensions maximizes the Tsallis entropy of this index."""
    return (nu + size + 2) / (nu + size)


def tsallis_entropy(p: Tensor, q: float) -> Tensor:
    """S_q = (1 - Σ p^q) / (q - 1), along the last axis; Shannon's for q = 1."""
    if q == 1:
        return -torch.xlogy(p, p).sum(-1)
    return (1 - p.pow(q).sum(-1)) / (q - 1)


@dataclass(frozen=True)
class Parts:
    """Of a mixed model: τ², σ², residuals ``[n]``, and for each cluster their sum, σ² + nτ², and δ ``[N]``."""

    tau: Tensor
    sigma: Tensor
    r: Tensor
    sums: Tensor
    whole: Tensor
    delta: Tensor


class MixedModel:
    """(1/N) Σ_i [½ log|V_i| + (ν + n_i)/2 log(1 + δ_i/ν)] + Σ_{j≥1} p_λ(β_j), δ_i = r_iᵀ V_i⁻¹ r_i (equation 11).

    r_i = y_i - X_i β and V_i = τ² 11ᵀ + σ² I: random intercepts, Z_i = 1. ν → ∞, given as None, is the Gaussian model, with
    δ_i / 2 in the place of the logarithm. Constants that depend on ν alone are left out. The vector of unknowns holds β
    ``[1 + p]``, log τ, and log of σ² less its least value.

    Args:
        x: ones, then covariates ``[n, 1 + p]``.
        y: outcomes ``[n]``.
        clusters: of each row, ascending from 0 ``[n]``.
        nu: ν > 0, or None.
        penalty: of every coefficient but the intercept.
        level: λ ≥ 0.
    """

    def __init__(
        self, x: Tensor, y: Tensor, clusters: Tensor, nu: float | Tensor | None, penalty: Penalty, level: float | Tensor
    ) -> None:
        self.x, self.y, self.clusters, self.nu, self.penalty, self.level = x, y, clusters, nu, penalty, level
        self.sizes = clusters.bincount().to(x)
        self.lipschitz = self.convex_lipschitz = FIRST_LIPSCHITZ

    def origin(self) -> Tensor:
        """β = 0, and half of the outcome's variance for each of τ² and σ² ``[p + 3]``."""
        start = self.x.new_zeros(self.x.shape[1] + 2)
        start[-2], start[-1] = math.log(0.5) / 2, math.log(0.5 - LEAST_VARIANCE)
        return start

    def variances(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """τ² and σ²."""
        return (2 * x[-2]).exp(), LEAST_VARIANCE + x[-1].exp()

    def parts(self, x: Tensor) -> "Parts":
        """What value and gradient share.

        By V⁻¹ = (I - τ² 11ᵀ / (σ² + n τ²)) / σ² and log|V| = (n - 1) log σ² + log(σ² + n τ²): no matrix is formed.
        """
        tau, sigma = self.variances(x)
        r = self.y - self.x @ x[:-2]
        sums, squares = (torch.zeros_like(self.sizes).index_add(0, self.clusters, v) for v in (r, r.square()))
        whole = sigma + self.sizes * tau
        delta = (squares - tau * sums.square() / whole) / sigma
        return Parts(tau, sigma, r, sums, whole, delta)

    def loss(self, x: Tensor) -> Tensor:
        """The objective without its penalty, a scalar."""
        found = self.parts(x)
        delta, log_det = found.delta, (self.sizes - 1) * found.sigma.log() + found.whole.log()
        if self.nu is None:
            return (log_det + delta).mean() / 2
        return (log_det + (self.nu + self.sizes) * torch.log1p(delta / self.nu)).mean() / 2

    def weights(self, delta: Tensor) -> Tensor:
        """W = (ν + n) / (ν + δ) of each cluster ``[N]``: how much it counts in the equations of β; 1 for ν → ∞."""
        return torch.ones_like(delta) if self.nu is None else (self.nu + self.sizes) / (self.nu + delta)

    def value(self, x: Tensor) -> Tensor:
        """The objective."""
        return self.loss(x) + self.penalty.value(x[1:-2], self.level).sum()

    def loss_gradient(self, x: Tensor) -> Tensor:
        """The gradient of the loss ``[p + 3]``; in β it is -(1/N) Σ w_i X_iᵀ V_i⁻¹ r_i."""
        found = self.parts(x)
        tau, sigma, sums, whole = found.tau, found.sigma, found.sums, found.whole
        w = self.weights(found.delta)
        solved = (found.r - (tau * sums / whole)[self.clusters]) / sigma
        slope = -(w[self.clusters] * solved) @ self.x
        along_tau = self.sizes / whole - w * (sums / whole).square()
        delta_slope = tau * (sums / whole).square() / sigma - found.delta / sigma
        along_sigma = (self.sizes - 1) / sigma + 1 / whole + w * delta_slope
        scales = torch.stack([tau * along_tau.sum(), (sigma - LEAST_VARIANCE) / 2 * along_sigma.sum()])
        return torch.cat([slope, scales]) / len(self.sizes)

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient of all but λ ‖·‖₁."""
        gradient = self.loss_gradient(x)
        gradient[1:-2] += self.penalty.smooth_slope(x[1:-2], self.level)
        return gradient

    def prox(self, x: Tensor, step: float) -> Tensor:
        """Soft thresholding of the penalized coefficients."""
        return torch.cat([x[:1], soft_threshold(x[1:-2], step * self.level), x[-2:]])


class NullModel(MixedModel):
    """The model with an intercept alone: coefficients stay 0."""

    def prox(self, x: Tensor, step: float) -> Tensor:
        """Projects on β_j = 0, j ≥ 1."""
        return torch.cat([x[:1], torch.zeros_like(x[1:-2]), x[-2:]])
