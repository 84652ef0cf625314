"""Noise distributions: what can be sampled, and has a density, for unnormalized models to be compared with."""

import math
from typing import Literal

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

NoiseName = Literal["standard", "gaussian", "mixture"]

# Share of the mean variance that is added to each direction, so that pixels that never change have a density.
RIDGE = 1e-3


class Noise:
    """A mixture of K normal distributions over rows of D numbers.

    Args:
        log_shares: logarithms of the components' shares ``[K]``.
        means: ``[K, D]``.
        factors: lower Cholesky factors of the covariances ``[K, D, D]``.
    """

    def __init__(self, log_shares: Tensor, means: Tensor, factors: Tensor) -> None:
        self.log_shares, self.means, self.factors = log_shares, means, factors
        self._log_scale = factors.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * means.shape[1] * math.log(2 * math.pi)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log q ``[N]`` of ``x [N, …]``."""
        deviations = (x.flatten(1) - self.means[:, None]).mT  # [K, D, N]
        white = torch.linalg.solve_triangular(self.factors, deviations, upper=False)
        logs = -0.5 * white.square().sum(1) - self._log_scale[:, None]  # [K, N]
        return (self.log_shares[:, None] + logs).logsumexp(0)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``[N, D]``, drawn on the generator's device, which must be the distribution's."""
        device = self.means.device
        standard = torch.randn(count, self.means.shape[1], generator=generator, device=device, dtype=self.means.dtype)
        if len(self.means) == 1:
            return self.means[0] + standard @ self.factors[0].T
        uniform = torch.rand(count, generator=generator, device=device, dtype=self.means.dtype)
        chosen = torch.searchsorted(self.log_shares.exp().cumsum(0), uniform).clamp_max(len(self.means) - 1)
        # One product for each component costs less memory than a factor for each sample.
        moved = torch.einsum("kde,ne->nkd", self.factors, standard)
        return self.means[chosen] + moved[torch.arange(count, device=device), chosen]


def fit_noise(name: NoiseName, scale: float, components: int, x: Tensor, seed: int) -> Noise:
    """The noise distribution for training samples.

    Args:
        name: ``standard``: N(0, scale² I); ``gaussian``: the samples' mean and covariance, times scale²; ``mixture``: of
            Gaussians, fitted by expectation maximization, each covariance times scale².
        scale: multiplies standard deviations.
        components: of the mixture.
        x: training samples ``[N, …]``.
        seed: of the mixture's first guess.
    """
    rows = x.flatten(1).double().cpu()
    size = rows.shape[1]
    if name == "standard":
        shares, means, covariances = np.ones(1), np.zeros((1, size)), np.eye(size)[None]
    else:
        ridge = RIDGE * rows.var(0).mean().item()
        if name == "gaussian":
            shares, means = np.ones(1), rows.mean(0)[None].numpy()
            covariances = np.atleast_2d(np.cov(rows.T.numpy()))[None] + ridge * np.eye(size)
        else:
            fitted = GaussianMixture(components, reg_covar=ridge, random_state=seed).fit(rows.numpy())
            shares, means, covariances = fitted.weights_, fitted.means_, fitted.covariances_
    tensors = (np.log(shares), means, scale * np.linalg.cholesky(covariances))
    return Noise(*(torch.tensor(values, dtype=x.dtype, device=x.device) for values in tensors))
