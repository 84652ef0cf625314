"""Gaussian mixtures under noise: their denoiser, score and moments in closed form."""

import torch
from torch import Tensor


class GaussianMixture:
    """A mixture of isotropic Gaussians of one deviation, Σ_k π_k N(μ_k, s² I), as a distribution of images.

    Args:
        means: μ_k ``[K, …]``, of the images' shape.
        shares: π_k ``[K]``.
        deviation: s.
    """

    def __init__(self, means: Tensor, shares: Tensor, deviation: float) -> None:
        self.means, self.shares, self.deviation = means, shares / shares.sum(), deviation

    def responsibilities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """r_k(x) = P(component k | x) under noise of deviation σ, ``[N, K]`` for images ``[N, …]``."""
        points, means = x.flatten(1), self.means.flatten(1).to(x)
        # ‖x‖² is the same for all components, and left out.
        squared = means.square().sum(1) - 2 * points @ means.T
        return (self.shares.to(x).log() - squared / (2 * (sigma**2 + self.deviation**2))).softmax(1)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x] = Σ_k r_k(x) (σ² μ_k + s² x) / (σ² + s²), ``[N, …]``."""
        noise, own = sigma**2, self.deviation**2
        mean = (self.responsibilities(x, sigma) @ self.means.flatten(1).to(x)).reshape(x.shape)
        return (noise * mean + own * x) / (noise + own)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        """∇ log p_σ(x) = (m(x, σ) - x) / σ², ``[N, …]``."""
        return (self(x, sigma) - x) / sigma**2

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``[D]`` and covariance ``[D, D]`` of the mixture without noise, D numbers an image."""
        means = self.means.flatten(1)
        mean = self.shares @ means
        centred = means - mean
        identity = torch.eye(means.shape[1], dtype=means.dtype)
        return mean, (self.shares[:, None] * centred).T @ centred + self.deviation**2 * identity
