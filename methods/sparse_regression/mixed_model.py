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
    """A mixed model at one point.

    Attributes:
        factor: the lower triangular L of Ψ = L Lᵀ ``[k, k]``.
        sigma: σ².
        inner: the Cholesky factors of M_i = σ² I + Lᵀ Z_iᵀ Z_i L ``[N, k, k]``.
        effects: b_i = Ψ Z_iᵀ V_i⁻¹ r_i, the random effects that it predicts ``[N, k]``.
        solved: V_i⁻¹ r_i of all clusters ``[n]``.
        delta: δ ``[N]``.
        log_det: log|V_i| ``[N]``.
    """

    factor: Tensor
    sigma: Tensor
    inner: Tensor
    effects: Tensor
    solved: Tensor
    delta: Tensor
    log_det: Tensor

    @property
    def psi(self) -> Tensor:
        """Ψ ``[k, k]``."""
        return self.factor @ self.factor.T


class MixedModel:
    """(1/N) Σ_i [½ log|V_i| + (ν + n_i)/2 log(1 + δ_i/ν)] + Σ_{j≥1} p_λ(β_j), δ_i = r_iᵀ V_i⁻¹ r_i (equation 11).

    r_i = y_i - X_i β and V_i = Z_i Ψ Z_iᵀ + σ² I, where Z_i holds the ones and the leading covariates of X_i: random intercepts
    and slopes. ν → ∞, given as None, is the Gaussian model, with δ_i / 2 in the place of the logarithm. Constants that depend
    on ν alone are left out. Ψ = L Lᵀ is any positive definite matrix, not a diagonal one, so that centring covariates changes
    nothing. The vector of unknowns holds β ``[1 + p]``, the rows of the lower triangle of L with the logarithm of its diagonal
    ``[k(k + 1)/2]``, and log of σ² less its least value: q numbers.

    Args:
        x: ones, then covariates ``[n, 1 + p]``.
        y: outcomes ``[n]``.
        clusters: of each row, ascending from 0 ``[n]``.
        nu: ν > 0, or None.
        penalty: of every coefficient but the intercept.
        level: λ ≥ 0.
        random_slopes: k - 1, how many leading covariates have effects that vary from cluster to cluster.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        clusters: Tensor,
        nu: float | Tensor | None,
        penalty: Penalty,
        level: float | Tensor,
        random_slopes: int = 0,
    ) -> None:
        self.x, self.y, self.clusters, self.nu, self.penalty, self.level = x, y, clusters, nu, penalty, level
        self.sizes = clusters.bincount().to(x)
        self.z = x[:, : 1 + random_slopes]
        self.gram = self.total(self.z[:, :, None] * self.z[:, None, :])  # Z_iᵀ Z_i, [N, k, k]
        self.triangle = torch.tril_indices(1 + random_slopes, 1 + random_slopes, device=x.device).unbind()
        self.lipschitz = self.convex_lipschitz = FIRST_LIPSCHITZ

    def total(self, v: Tensor) -> Tensor:
        """Sums over the rows of each cluster, ``[n, …]`` to ``[N, …]``."""
        return v.new_zeros(len(self.sizes), *v.shape[1:]).index_add(0, self.clusters, v)

    def origin(self) -> Tensor:
        """β = 0, and half of the outcome's variance for each of the random effects together and σ² ``[q]``."""
        k = self.z.shape[1]
        factor = math.log(0.5 / k) / 2 * torch.eye(k).to(self.x)
        ends = self.x.new_tensor([math.log(0.5 - LEAST_VARIANCE)])
        return torch.cat([self.x.new_zeros(self.x.shape[1]), factor[self.triangle], ends])

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The unknowns: β ``[1 + p]``, the triangle's entries ``[k(k + 1)/2]``, and the noise's ``[1]``."""
        return x[: self.x.shape[1]], x[self.x.shape[1] : -1], x[-1:]

    def parts(self, x: Tensor) -> Parts:
        """What value and gradient share.

        By V⁻¹ = (I - Z L M⁻¹ Lᵀ Zᵀ) / σ² and |V| = σ^2(n - k) |M| (Woodbury, Sylvester): only k x k systems, of all clusters at
        once.
        """
        beta, entries, noise = self.split(x)
        k = self.z.shape[1]
        lower = x.new_zeros(k, k).index_put(self.triangle, entries)
        factor = lower.tril(-1) + lower.diagonal().exp().diag()
        sigma = LEAST_VARIANCE + noise[0].exp()
        r = self.y - self.x @ beta
        inner, failed = torch.linalg.cholesky_ex(sigma * torch.eye(k).to(x) + factor.T @ self.gram @ factor)
        projected = self.total(self.z * r[:, None]) @ factor  # Lᵀ Zᵀ r, [N, k]
        effects = torch.cholesky_solve(projected[:, :, None], inner)[:, :, 0] @ factor.T
        solved = (r - (self.z * effects[self.clusters]).sum(1)) / sigma
        log_det = (self.sizes - k) * sigma.log() + 2 * inner.diagonal(dim1=1, dim2=2).log().sum(1)
        # A step so wild that M is singular to rounding is none to take.
        log_det = torch.where(failed > 0, torch.inf, log_det)
        return Parts(factor, sigma, inner, effects, solved, self.total(r * solved), log_det)

    def loss(self, x: Tensor) -> Tensor:
        """The objective without its penalty, a scalar."""
        found = self.parts(x)
        if self.nu is None:
            return (found.log_det + found.delta).mean() / 2
        return (found.log_det + (self.nu + self.sizes) * torch.log1p(found.delta / self.nu)).mean() / 2

    def weights(self, delta: Tensor) -> Tensor:
        """W = (ν + n) / (ν + δ) of each cluster ``[N]``: how much it counts in the equations of β; 1 for ν → ∞."""
        return torch.ones_like(delta) if self.nu is None else (self.nu + self.sizes) / (self.nu + delta)

    def value(self, x: Tensor) -> Tensor:
        """The objective."""
        return self.loss(x) + self.penalty.value(self.split(x)[0][1:], self.level).sum()

    def loss_gradient(self, x: Tensor) -> Tensor:
        """The gradient of the loss ``[q]``: in β -(1/N) Σ w_i X_iᵀ V_i⁻¹ r_i, in L (1/N) Σ (Z_iᵀ V_i⁻¹ Z_i - w_i u_i u_iᵀ) L.

        There u = Zᵀ V⁻¹ r, and Zᵀ V⁻¹ Z L = Zᵀ Z L M⁻¹; in σ² it is (1/2N) Σ (tr V⁻¹ - w ‖V⁻¹ r‖²).
        """
        found = self.parts(x)
        w, inverse = self.weights(found.delta), torch.cholesky_inverse(found.inner)
        slope = -(w[self.clusters] * found.solved) @ self.x
        u = self.total(self.z * found.solved[:, None])
        along = (self.gram @ found.factor @ inverse).sum(0) - (w[:, None] * u).T @ u @ found.factor
        # The diagonal is known by its logarithm.
        along = along.tril(-1) + (along * found.factor).diagonal().diag()
        traces = (self.sizes - self.z.shape[1]) / found.sigma + inverse.diagonal(dim1=1, dim2=2).sum(1)
        noise = (found.sigma - LEAST_VARIANCE) / 2 * (traces - w * self.total(found.solved.square())).sum()
        return torch.cat([slope, along[self.triangle], noise[None]]) / len(self.sizes)

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient of all but λ ‖·‖₁."""
        slope, *rest = self.split(self.loss_gradient(x))
        concave = self.penalty.smooth_slope(self.split(x)[0][1:], self.level)
        return torch.cat([slope[:1], slope[1:] + concave, *rest])

    def prox(self, x: Tensor, step: float) -> Tensor:
        """Soft thresholding of the penalized coefficients."""
        beta, *rest = self.split(x)
        return torch.cat([beta[:1], soft_threshold(beta[1:], step * self.level), *rest])


class NullModel(MixedModel):
    """The model with an intercept alone: coefficients stay 0."""

    def prox(self, x: Tensor, step: float) -> Tensor:
        """Projects on β_j = 0, j ≥ 1."""
        beta, *rest = self.split(x)
        return torch.cat([beta[:1], torch.zeros_like(beta[1:]), *rest])
