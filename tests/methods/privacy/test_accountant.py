"""Accounts of differential privacy against integration, the exact Gaussian mechanism, and a reference library's figures."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from regbench.methods.privacy.accountant import ORDERS, privacy_loss, renyi_divergence


@pytest.mark.parametrize(("rate", "noise"), [(0.01, 0.8), (0.1, 1.0), (0.5, 2.0), (0.9, 4.0)])
@pytest.mark.parametrize("order", [2, 3, 8, 16])
def test_divergences_are_the_integral(rate, noise, order):
    """log E_(x ~ N(0, σ²)) [((1 - q) + q exp((2 x - 1) / 2σ²))^α] / (α - 1), by quadrature."""

    def integrand(x):
        ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * x - 1) / (2 * noise**2))
        return math.exp(norm.logpdf(x, scale=noise) + order * ratio)

    value, _ = quad(integrand, -30 * noise, order + 30 * noise, points=[0, order], limit=500)
    assert renyi_divergence(rate, noise, np.array([order]))[0] == pytest.approx(math.log(value) / (order - 1), rel=1e-6)


def test_without_subsampling_it_is_that_of_two_gaussians():
    np.testing.assert_allclose(renyi_divergence(1.0, 1.5), ORDERS / (2 * 1.5**2))
    np.testing.assert_allclose(renyi_divergence(1 - 1e-9, 1.5), ORDERS / (2 * 1.5**2), rtol=1e-4)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (5.0, 10), (20.0, 100)])
def test_the_loss_bounds_the_exact_one_of_the_gaussian_mechanism_closely(noise, steps):
    """T steps are one with noise σ/√T, for which δ(ε) is known exactly (Balle and Wang, ICML 2018, theorem 8)."""
    delta, mu = 1e-5, math.sqrt(steps) / noise

    def excess(epsilon):
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    exact = brentq(excess, 1e-6, 100)
    assert exact <= privacy_loss(1.0, noise, steps, delta) <= 1.25 * exact


REFERENCE = [
    (256 / 60_000, 1.1, 14_100, 1e-5, 2.600343),
    (64 / 700, 1.0, 660, 1e-5, 19.056419),
    (64 / 700, 3.0, 660, 1e-3, 2.771171),
    (0.01, 0.6, 1000, 1e-5, 8.665908),
    (1.0, 10.0, 100, 1e-6, 5.221540),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "expected"), REFERENCE)
def test_losses_are_those_of_opacus(rate, noise, steps, delta, expected):
    """Its figures, of RDPAccountant in version 1.6.0, which also tries orders that are no integers."""
    assert expected * (1 - 1e-6) <= privacy_loss(rate, noise, steps, delta) <= 1.06 * expected


def test_more_steps_cost_more_and_more_noise_less():
    losses = [privacy_loss(0.1, 1.0, steps, 1e-5) for steps in (1, 10, 100, 1000)]
    assert losses == sorted(losses)
    assert privacy_loss(0.1, 4.0, 100, 1e-5) < privacy_loss(0.1, 1.0, 100, 1e-5)
    assert privacy_loss(0.01, 100.0, 1, 0.5) == 0
