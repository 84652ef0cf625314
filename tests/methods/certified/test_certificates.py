"""Bounds and radii: closed forms, an independent library, worst cases by optimization, and attacks on smoothed half-spaces."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri
from statsmodels.stats.proportion import proportion_confint

from regbench.methods.certified.certificates import certified_radius, lower_bound, released_radii

# One-sided bounds


@pytest.mark.parametrize(
    ("counts", "samples", "alpha", "expected"),
    [(990, 1000, 5e-4, 0.974937), (1000, 1000, 5e-4, 0.992428), (100_000, 100_000, 1e-3, 0.999931)],
)
def test_the_cards_bounds(counts, samples, alpha, expected):
    assert lower_bound(np.array(counts), samples, alpha) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6])
def test_bounds_are_those_of_statsmodels(alpha):
    counts = np.arange(0, 51)
    expected = [proportion_confint(count, 50, alpha=2 * alpha, method="beta")[0] for count in counts]
    np.testing.assert_allclose(lower_bound(counts, 50, alpha), expected, atol=1e-12)


# Radii


@pytest.mark.parametrize(
    ("lower", "sigmas", "expected"),
    [
        ((0.9, 0.9), (0.25, 0.25), 0.453097),
        ((0.99, 0.7), (0.25, 0.25), 0.503946),
        ((0.99, 0.5), (0.18, 0.18), 0.296096),
        ((0.9, 0.8), (0.25, 0.5), 0.474756),
        (ndtr((2.0, -1.0)), (0.25, 0.25), 0.176777),
        ((0.6, 0.3), (0.25, 0.25), 0.0),
        ((0.9,), (0.25,), 0.25 * 1.281552),
        ((0.5,), (0.25,), 0.0),
    ],
)
def test_the_cards_radii(lower, sigmas, expected):
    assert certified_radius(np.array(lower), sigmas) == pytest.approx(expected, abs=1e-6)


def test_no_votes_give_no_certificate():
    lower = lower_bound(np.array([[0, 10, 0], [10, 10, 0]]), 10, 1e-3)
    assert certified_radius(lower, (0.25, 0.25))[[0, 2]].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("sigma", "samples", "alpha", "parts", "expected"),
    [(0.18, 100_000, 1e-3, 2, 0.970238), (0.18, 100_000, 5e-4, 2, 0.964206), (0.25, 100_000, 1e-3, 1, 0.952864)],
)
def test_the_cards_ceilings(sigma, samples, alpha, parts, expected):
    lower = lower_bound(np.full(parts, samples), samples, alpha)
    assert certified_radius(lower, [sigma] * parts) == pytest.approx(expected, abs=1e-6)


def test_swapping_halves_changes_nothing():
    lower = np.random.default_rng(0).uniform(0.2, 0.999, size=(2, 50))
    np.testing.assert_array_equal(certified_radius(lower, (0.2, 0.3)), certified_radius(lower[::-1], (0.3, 0.2)))


@pytest.mark.parametrize("scores", [(1.0, 1.0), (2.0, 0.3), (2.5, -1.0), (-0.2, 0.9)])
@pytest.mark.parametrize("sigmas", [(0.25, 0.25), (0.2, 0.6)])
def test_it_is_the_shortest_perturbation_that_takes_the_majority_from_half_spaces(scores, sigmas):
    """Found by constrained minimization of its length; at it, both probabilities sum to 1."""
    score, sigma = np.array(scores), np.array(sigmas)

    def surplus(shift):
        return ndtr(score - shift / sigma).sum() - 1

    # Several starts: the constraint is not convex.
    found = [
        minimize(
            np.linalg.norm, start, constraints={"type": "ineq", "fun": lambda shift: -surplus(shift)}, bounds=[(0, None)] * 2
        )
        for start in ([1.0, 1.0], [0.1, 2.0], [2.0, 0.1])
    ]
    shortest = min((result for result in found if result.success), key=lambda result: result.fun)
    assert certified_radius(ndtr(score), sigmas) == pytest.approx(shortest.fun, abs=1e-4)
    assert surplus(shortest.x) == pytest.approx(0, abs=1e-6)


def test_linear_halves_have_the_distance_to_the_boundary_as_radius_for_every_noise():
    w, x = np.array([1, 2, -1, 0.5]), np.array([0.4, 0.2, -0.1, 0.6])
    halves, offsets = ([0, 2], [1, 3]), (0.1, 0.2)
    distances = [(w[h] @ x[h] + c) / np.linalg.norm(w[h]) for h, c in zip(halves, offsets, strict=True)]
    assert distances == pytest.approx([0.424264, 0.436564], abs=1e-6)
    assert ndtr(np.array(distances) / 0.5) == pytest.approx([0.801928, 0.808703], abs=1e-6)
    for sigma in (0.1, 0.5, 2.0):
        assert certified_radius(ndtr(np.array(distances) / sigma), (sigma, sigma)) == pytest.approx(0.608697, abs=1e-6)


# The released code's radii, which are no certificates


@pytest.mark.parametrize(
    ("lower", "sigma", "root", "mean"),
    [
        ((0.99, 0.7), 0.25, 0.596180, 0.503946),
        ((0.99, 0.5), 0.18, 0.418743, 0.296096),
        (ndtr((2.0, -1.0)), 0.25, 0.5, 0.353553),
    ],
)
def test_the_cards_released_radii(lower, sigma, root, mean):
    found = released_radii(np.array(lower), sigma)
    assert found["root"] == pytest.approx(root, abs=1e-6)
    assert found["mean"] == pytest.approx(mean, abs=1e-6)


def test_half_spaces_are_beaten_within_the_released_radii_and_not_within_the_certified_one():
    score, sigma = np.array([2.0, -1.0]), 0.25
    for length, wins in (
        (certified_radius(ndtr(score), (sigma, sigma)) * 0.999, True),
        (released_radii(ndtr(score), sigma)["mean"], False),
        (released_radii(ndtr(score), sigma)["root"], False),
    ):
        angles = np.linspace(0, math.pi / 2, 1001)
        shift = length * np.stack([np.cos(angles), np.sin(angles)])
        assert (ndtr(score[:, None] - shift / sigma).sum(0) > 1).all() == wins


# Statistics


@pytest.mark.parametrize("truth", [(0.9, 0.9), (0.97, 0.55), (0.95, 0.3)])
def test_certificates_exceed_the_true_radius_at_most_as_often_as_they_may(truth):
    alpha, samples, repeats = 0.05, 200, 20_000
    random = np.random.default_rng(0)
    counts = np.stack([random.binomial(samples, p, size=repeats) for p in truth])
    found = certified_radius(lower_bound(counts, samples, alpha / 2), (0.25, 0.25))
    true = max(0.0, 0.25 / math.sqrt(2) * ndtri(truth).sum())
    assert (found > true).mean() <= alpha + 3 * math.sqrt(alpha / repeats)
