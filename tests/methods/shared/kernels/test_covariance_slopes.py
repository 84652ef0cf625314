"""The compiled gradient of distance covariance, against its definition over pairs."""

import numpy as np
import pytest

from regbench.methods.shared.kernels.covariance_slopes import compiled, slopes


def centered(y: np.ndarray) -> np.ndarray:
    """U-centered distances ``[n, n]`` of scalars, by Székely and Rizzo's definition."""
    n = len(y)
    distances = np.abs(y[:, None] - y)
    rows = distances.sum(1)
    found = distances - rows[:, None] / (n - 2) - rows / (n - 2) + distances.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(found, 0.0)
    return found


def by_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Σ_ij |x_i - x_j| U_ij / (n (n - 3)) differentiated in x; equal x have no part in it."""
    n = len(x)
    return 2 * (np.sign(x[:, None] - x) * centered(y)).sum(1) / (n * (n - 3))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [4, 5, 33, 200])
def test_slopes_are_those_of_all_pairs(n, ties):
    random = np.random.default_rng(n)
    x = random.normal(size=n)
    y = np.stack([random.normal(size=n), x**2, (random.random(n) < 0.3).astype(float), np.zeros(n)])
    if ties:
        x, y = np.round(2 * x), np.round(2 * y)
    np.testing.assert_allclose(slopes(x, y), [by_pairs(x, row) for row in y], atol=1e-12)


def test_slopes_give_the_estimate():
    """The estimate is linear in x as long as its order stays, so that it is the sum of x times the slopes."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=50), random.normal(size=50)
    expected = (np.abs(x[:, None] - x) * centered(y)).sum() / (50 * 47)
    assert slopes(x, y[None])[0] @ x == pytest.approx(expected, rel=1e-10)


def test_inputs_are_left_alone():
    x, y = np.array([3.0, 1.0, 2.0, 1.0]), np.array([[1.0, 0.0, 2.0, 5.0]])
    before = x.copy(), y.copy()
    slopes(x, y)
    assert (x == before[0]).all()
    assert (y == before[1]).all()


def test_where_what_is_compiled_cannot_be_kept_it_is_compiled_all_the_same():
    namespace = {}
    # Numba keeps nothing of a function that is in no file.
    exec("def double(x): return 2 * x", namespace)
    assert compiled("float64(float64)")(namespace["double"])(3.0) == 6.0
