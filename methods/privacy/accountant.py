"""What differential privacy a number of noisy, subsampled steps keeps: Rényi divergences, added up and converted."""

import numpy as np
from scipy.special import gammaln, logsumexp

# Orders α at which the divergence is bounded. Integers: the best bound among them is a valid one.
ORDERS = np.arange(2, 257)


def renyi_divergence(rate: float, noise: float, orders: np.ndarray = ORDERS) -> np.ndarray:
    """The Rényi divergence of one step of the Gaussian mechanism on a Poisson sample, at integer orders ``[A]``.

    log(Σ_k C(α, k) (1 - q)^(α - k) q^k exp(k (k - 1) / 2σ²)) / (α - 1) (Mironov, Talwar and Zhang, 2019, eq. 6).

    Args:
        rate: q in (0, 1], with which each row is in a step's sample.
        noise: σ > 0, of the noise relative to the largest norm that one row adds.
        orders: α, each at least 2.
    """
    if rate == 1:
        return orders / (2 * noise**2)
    k = np.arange(orders.max() + 1)
    alpha = orders[:, None]
    left = np.maximum(alpha - k, 0)
    terms = gammaln(alpha + 1) - gammaln(k + 1) - gammaln(left + 1) + left * np.log1p(-rate) + k * np.log(rate)
    terms += k * (k - 1) / (2 * noise**2)
    return logsumexp(np.where(k <= alpha, terms, -np.inf), axis=1) / (orders - 1)


def privacy_loss(rate: float, noise: float, steps: int, delta: float) -> float:
    """ε of (ε, δ)-differential privacy after some steps.

    min over α of T D_α + log((α - 1)/α) - (log δ + log α)/(α - 1) (Canonne, Kamath and Steinke, 2020, proposition 12).

    Args:
        rate: q, see ``renyi_divergence``.
        noise: σ, likewise.
        steps: T.
        delta: δ in (0, 1).
    """
    total = steps * renyi_divergence(rate, noise)
    epsilon = total + np.log1p(-1 / ORDERS) - (np.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(epsilon.min()))
