"""Estimates of mutual information: closed forms, scikit-learn, brute force, and invariances."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.metrics import mutual_info_score

from regbench.methods.sparse_regression import mutual_information as mi
from regbench.methods.sparse_regression.bandwidths import BANDWIDTHS, improved_sheather_jones, silverman

SEEN = ("kde", "binning", "knn", "pearson")


def gaussian(rho, n=4000, seed=0):
    z = np.random.default_rng(seed).standard_normal((n, 2))
    return torch.tensor(z[:, :1]), torch.tensor(rho * z[:, 0] + math.sqrt(1 - rho**2) * z[:, 1])


@pytest.mark.parametrize(("rho", "true"), [(0.5, 0.143841), (0.9, 0.830366)])
def test_the_cards_values_of_a_bivariate_normal(rho, true):
    x, y = gaussian(rho)
    found = {name: mi.mutual_information(x, y, "continuous", name).item() for name in SEEN}
    assert found["pearson"] == pytest.approx(true, abs=0.03)
    assert found["knn"] == pytest.approx(true, abs=0.05)
    assert found["kde"] == pytest.approx(true, rel=0.15)
    assert found["binning"] == pytest.approx(true, abs=0.08)
    assert mi.linfoot(torch.tensor(true)).item() == pytest.approx(rho, abs=1e-5)


@pytest.mark.parametrize("estimator", SEEN)
@pytest.mark.parametrize("outcome", ["continuous", "binary"])
def test_independent_variables_share_next_to_nothing_and_never_less(estimator, outcome):
    random = np.random.default_rng(1)
    x, y = torch.tensor(random.standard_normal((1500, 20))), torch.tensor(random.standard_normal(1500))
    y = (y > 0).double() if outcome == "binary" else y
    found = mi.mutual_information(x, y, outcome, estimator)
    assert (found >= 0).all()
    # A histogram of D x D cells is biased by (D - 1)² / 2n, with D about 14 here.
    assert found.mean() < (0.1 if estimator == "binning" else 0.04)


@pytest.mark.parametrize("estimator", SEEN)
def test_estimates_do_not_depend_on_units_nor_on_the_order_of_the_pair(estimator):
    x, y = gaussian(0.7, n=500)
    found = mi.mutual_information(x, y, "continuous", estimator).item()
    assert mi.mutual_information(5 - 3 * x, 2 * y + 7, "continuous", estimator).item() == pytest.approx(found, rel=1e-2)
    assert mi.mutual_information(y[:, None], x[:, 0], "continuous", estimator).item() == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("n", [20, 300])
@pytest.mark.parametrize("neighbours", [1, 3, 6])
def test_nearest_neighbours_are_scikit_learns(n, neighbours):
    random = np.random.default_rng(2)
    x = random.standard_t(2, (n, 25))
    y = x[:, 0] ** 2 + x[:, 1] + random.standard_normal(n)
    expected = mutual_info_regression(x, y, n_neighbors=neighbours, random_state=0)
    np.testing.assert_allclose(mi.knn(torch.tensor(x), torch.tensor(y), neighbours), expected, atol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_nearest_neighbours_within_classes_are_scikit_learns(neighbours):
    random = np.random.default_rng(3)
    x = random.standard_normal((250, 12))
    y = (x[:, 0] + random.standard_normal(250) > 0.5).astype(float)
    expected = mutual_info_classif(x, y, n_neighbors=neighbours, random_state=0)
    np.testing.assert_allclose(mi.knn_binary(torch.tensor(x), torch.tensor(y), neighbours), expected, atol=1e-6)


def test_bins_are_those_of_an_exhaustive_search():
    random = np.random.default_rng(4)
    x = np.column_stack([random.standard_normal(300), random.random(300), random.exponential(size=300)])

    def score(v, bins):
        counts = np.histogram(v, bins)[0]
        counts = counts[counts > 0]
        penalty = bins - 1 + math.log(bins) ** 2.5
        return (counts * np.log(counts)).sum() + len(v) * math.log(bins) - penalty

    expected = [max(range(2, 100), key=lambda bins, v=v: score(v, bins)) for v in x.T]
    assert mi.best_bins(torch.tensor(x.T.copy())).tolist() == expected
    y = x[:, 0] + random.standard_normal(300)
    bins_y = int(mi.best_bins(torch.tensor(y[None])))
    cells = [np.digitize(v, np.histogram_bin_edges(v, bins)[1:-1]) for v, bins in zip(x.T, expected, strict=True)]
    plain = [mutual_info_score(np.digitize(y, np.histogram_bin_edges(y, bins_y)[1:-1]), cell) for cell in cells]
    np.testing.assert_allclose(mi.binning(torch.tensor(x), torch.tensor(y)), plain, atol=1e-9)


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_the_grid_holds_the_kernel_sum(bandwidth):
    """The density on the grid by a sum over rows, which linear binning approximates."""
    x, y = gaussian(0.8, n=150)
    a, b = (mi.robust_scale(v)[0].numpy() for v in (x.T, y[None]))
    h = [5**0.5 * BANDWIDTHS[bandwidth](torch.tensor(v[None])).item() for v in (a, b)]
    grids = [np.linspace(v.min() - r, v.max() + r, 200) for v, r in zip((a, b), h, strict=True)]
    parts = [((grid[:, None] - v) / r) ** 2 for grid, v, r in zip(grids, (a, b), h, strict=True)]
    joint = np.maximum(1 - parts[0][:, None, :] - parts[1][None, :, :], 0).sum(2)
    joint /= joint.sum()
    rows, columns = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    expected = (joint * np.log(np.where(joint > 0, joint / np.where(joint > 0, rows * columns, 1), 1))).sum()
    assert mi.kde(x, y, bandwidth, grid=200).item() == pytest.approx(expected, abs=2e-3)


def test_the_binary_estimate_is_that_of_two_normal_classes():
    """Equal classes at ±1: I = log 2 - E[H(class | x)], by quadrature."""
    random = np.random.default_rng(5)
    y = np.arange(6000) % 2
    x = 2.0 * y - 1 + random.standard_normal(6000)
    grid = np.linspace(-8, 8, 4001)
    joint = np.stack([norm.pdf(grid, -1), norm.pdf(grid, 1)]) / 2
    share = joint / joint.sum(0)
    entropy = -(share * np.log(share)).sum(0)
    expected = math.log(2) - (entropy * joint.sum(0)).sum() * (grid[1] - grid[0])
    found = mi.kde_binary(torch.tensor(x[:, None]), torch.tensor(y, dtype=torch.float64)).item()
    assert found == pytest.approx(expected, rel=0.1)


def test_mutual_information_sees_squares_where_correlation_does_not():
    random = np.random.default_rng(6)
    x = random.standard_normal((400, 60))
    signal = (x[:, :5] ** 2).sum(1)
    y = torch.tensor(signal + signal.std() / 3**0.5 * random.standard_normal(400))
    ranks = mi.kde(torch.tensor(x), y, grid=128).argsort(descending=True)
    assert set(ranks[:5].tolist()) == set(range(5))
    assert set(mi.pearson(torch.tensor(x), y).argsort(descending=True)[:5].tolist()) != set(range(5))


def test_chunks_change_nothing(monkeypatch):
    x = torch.tensor(np.random.default_rng(7).standard_normal((100, 9)))
    y = x[:, 0] + x[:, 1].square()
    whole = [mi.mutual_information(x, y, "continuous", name, grid=32) for name in SEEN]
    monkeypatch.setattr(mi, "CHUNK_NUMBERS", 1)
    for name, expected in zip(SEEN, whole, strict=True):
        rounding = 2e-6 if name == "kde" else 1e-12
        found = mi.mutual_information(x, y, "continuous", name, grid=32)
        torch.testing.assert_close(found, expected, atol=rounding, rtol=0)


def test_a_constant_covariate_is_no_information():
    x, y = gaussian(0.5, n=200)
    x = torch.cat([x, torch.ones_like(x)], 1)
    for name in ("kde", "binning", "pearson"):
        found = mi.mutual_information(x, y, "continuous", name)
        assert found.isfinite().all()
        # A kernel of the Euclidean norm is no product, so smoothing makes a little dependence.
        assert found[1] < (5e-3 if name == "kde" else 1e-9)


def test_bandwidths_of_a_normal_sample():
    v = torch.tensor(np.random.default_rng(8).standard_normal((3, 20000)))
    n = v.shape[1]
    torch.testing.assert_close(BANDWIDTHS["scott"](v), torch.full((3, 1), 1.059 * n**-0.2).double(), rtol=0.02, atol=0)
    torch.testing.assert_close(silverman(v), torch.full((3, 1), (0.75 * n) ** -0.2).double(), rtol=0.02, atol=0)
    torch.testing.assert_close(improved_sheather_jones(v), silverman(v), rtol=0.15, atol=0)


def test_the_improved_rule_is_narrow_where_two_peaks_fool_the_others():
    random = np.random.default_rng(9)
    v = torch.tensor(np.concatenate([random.normal(-5, 1, 2000), random.normal(5, 1, 2000)])[None])
    expected = (0.75 * 2000) ** -0.2  # of one peak
    assert improved_sheather_jones(v).item() == pytest.approx(expected, rel=0.25)
    assert silverman(v).item() > 3 * expected
