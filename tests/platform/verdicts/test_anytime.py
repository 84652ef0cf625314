"""The anytime-valid t test against numerical integration, simulation and its own algebra."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from regbench.platform.verdicts.anytime import FIRST_LOOK, e_values, half_widths, interval, moments, p_values

DIFFERENCES = np.random.default_rng(0).normal(0.5, 1.0, 25)


@pytest.mark.parametrize("n", [3, 5, 12, 25])
def test_an_e_value_is_the_bayes_factor_of_the_t_statistic(n):
    """The marginal density of t when its noncentrality is √n·δ with δ from N(0, 1), over its density at δ = 0."""
    t = stats.ttest_1samp(DIFFERENCES[:n], 0).statistic
    marginal, _ = integrate.quad(lambda d: stats.nct.pdf(t, n - 1, d * math.sqrt(n)) * stats.norm.pdf(d), -9, 9)
    assert e_values(DIFFERENCES)[n - 1] == pytest.approx(marginal / stats.t.pdf(t, n - 1), rel=1e-7)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_an_e_value_is_the_likelihood_ratio_of_the_directions_of_correlated_gaussians(correlation):
    """Densities on the sphere: |Σ|^(-1/2) (d'Σ⁻¹d)^(-n/2) for Σ = I + c·11ᵀ without the effect, with τ² more of 11ᵀ with it."""

    def density(d, c):
        covariance = np.eye(len(d)) + c
        return np.linalg.det(covariance) ** -0.5 * (d @ np.linalg.solve(covariance, d)) ** (-len(d) / 2)

    found = e_values(DIFFERENCES, correlation, prior=0.7)
    for n in (3, 8, 25):
        d = DIFFERENCES[:n]
        assert found[n - 1] == pytest.approx(density(d, correlation + 0.7) / density(d, correlation), rel=1e-9)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_it_is_a_martingale_of_mean_one_whatever_the_variance(correlation):
    random = np.random.default_rng(1)
    shared = math.sqrt(correlation) * random.standard_normal((40_000, 1))
    found = e_values(7.0 * (random.standard_normal((40_000, 10)) + shared), correlation)
    standard_error = found.std(axis=0) / 200
    assert (np.abs(found.mean(axis=0) - 1) < 5 * standard_error + 1e-12).all()
    assert (found[:, : FIRST_LOOK - 1] == 1).all()


def test_the_interval_holds_the_means_that_are_not_rejected():
    for alpha in (0.05, 0.01):
        half = half_widths(DIFFERENCES, alpha)
        mean, _ = moments(DIFFERENCES)
        for n in (9, 25):
            for sign in (-1, 1):
                edge = DIFFERENCES[:n] - (mean[n - 1] + sign * half[n - 1])
                assert e_values(edge)[n - 1] == pytest.approx(1 / alpha, rel=1e-9)


def test_p_is_below_alpha_if_and_only_if_the_interval_excludes_zero():
    random = np.random.default_rng(2)
    for _ in range(300):
        d = random.normal(random.uniform(0, 1.2), 1, random.integers(3, 30))
        low, high = interval(d, 0.05)
        assert (p_values(d)[-1] < 0.05) == (not low <= 0 <= high)


def test_the_interval_holds_the_mean_that_a_late_outlier_has_moved():
    steady = np.random.default_rng(5).normal(1.0, 0.1, 12).tolist()
    low, high = interval(steady, 0.05)
    moved = interval([*steady, 30.0], 0.05)
    assert high < np.mean([*steady, 30.0]) == moved[1]
    assert moved[0] == pytest.approx(low)


def test_units_and_signs_do_not_matter_and_no_digits_are_lost():
    scaled = e_values(1e-9 * DIFFERENCES)
    np.testing.assert_allclose(scaled, e_values(DIFFERENCES), rtol=1e-12)
    np.testing.assert_allclose(e_values(-DIFFERENCES), e_values(DIFFERENCES), rtol=1e-12)
    _, sd = moments(1e8 + 1e-3 * DIFFERENCES)
    assert sd[-1] == pytest.approx(1e-3 * np.std(DIFFERENCES, ddof=1), rel=1e-5)


def test_differences_without_variance_have_a_limit():
    tiny = 0.1 + 1e-9 * np.random.default_rng(3).standard_normal(8)
    np.testing.assert_allclose(e_values(np.full(8, 0.1)), e_values(tiny), rtol=1e-4)
    assert (e_values(np.zeros(8)) == 1).all()
    assert (p_values(np.zeros(8)) == 1).all()
    # 0.1 as a sum of other numbers: what differs by rounding alone does not vary.
    rounded = np.array([0.1 + 0.2 - 0.2, 0.1, 0.3 - 0.2, 0.1, 0.1])
    np.testing.assert_array_equal(e_values(rounded), e_values(np.full(5, rounded[0])))
    assert interval(np.zeros(8), 0.05) == (0.0, 0.0)
    assert interval([], 0.05) == (-math.inf, math.inf)
    assert interval([0.1], 0.05) == (-math.inf, math.inf)
