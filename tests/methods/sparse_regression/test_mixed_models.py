"""Mixed models: likelihoods of scipy, entropies by hand, gradients, and what an outlying cluster does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from scipy.special import gammaln
from scipy.stats import multivariate_normal, multivariate_t
from torch.autograd import grad

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import load
from regbench.methods.sparse_regression.mixed_effects import MixedEffects
from regbench.methods.sparse_regression.mixed_model import MixedModel, tsallis_entropy, tsallis_index
from regbench.methods.sparse_regression.penalties import Lasso, Scad
from regbench.methods.sparse_regression.task import standardize
from regbench.methods.sparse_regression.tsallis_mixed_effects import TsallisMixedEffects

SIZES = [3, 7, 1, 9]


def rows(seed=0, p=4):
    random = np.random.default_rng(seed)
    n = sum(SIZES)
    x = torch.tensor(np.column_stack([np.ones(n), random.standard_normal((n, p))]))
    return x, torch.tensor(random.standard_normal(n)), torch.tensor(np.repeat(range(4), SIZES))


def unknowns(beta, tau, sigma):
    """The vector of unknowns with these variances."""
    ends = torch.tensor([np.log(tau) / 2, np.log(sigma - 1e-3)])
    return torch.cat([torch.as_tensor(beta), ends]).double()


def log_density(y, covariance, nu):
    """By the model's loss, with the constants that it leaves out."""
    m = len(y)
    model = MixedModel(torch.ones(m, 1).double(), y, torch.zeros(m, dtype=torch.long), nu, Lasso(), 0.0)
    loss = model.loss(unknowns([0.0], *covariance)).item()
    if nu is None:
        return -m / 2 * np.log(2 * np.pi) - loss
    return gammaln((nu + m) / 2) - gammaln(nu / 2) - m / 2 * np.log(nu * np.pi) - loss


def test_the_cards_density_and_scipys():
    y, v = np.array([1, -0.5, 2]), 0.8 * np.ones((3, 3)) + 0.5 * np.eye(3)
    found = log_density(torch.tensor(y), (0.8, 0.5), 4.0)
    assert found == pytest.approx(-5.991793, abs=1e-6)
    assert found == pytest.approx(multivariate_t.logpdf(y, shape=v, df=4), abs=1e-10)


def test_many_degrees_of_freedom_are_gaussian():
    y, v = np.array([1, -0.5, 2]), 0.8 * np.ones((3, 3)) + 0.5 * np.eye(3)
    expected = multivariate_normal.logpdf(y, cov=v)
    assert log_density(torch.tensor(y), (0.8, 0.5), None) == pytest.approx(expected, abs=1e-10)
    assert log_density(torch.tensor(y), (0.8, 0.5), 1e8) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("q", "expected"), [(2.0, 0.62), (1.5, 0.785374), (1.0, 1.029653)])
def test_entropies_by_hand(q, expected):
    assert tsallis_entropy(torch.tensor([0.5, 0.3, 0.2]), q).item() == pytest.approx(expected, abs=1e-6)


def test_the_index_by_hand_and_its_inverse():
    assert tsallis_index(3, 1) == 1.5
    q = tsallis_index(4.0, 5)
    assert 2 / (q - 1) - 5 == pytest.approx(4)


def test_the_t_law_has_the_largest_tsallis_entropy_of_its_escort_variance():
    """On a line, q = 1.5 (ν = 3): no other law of the same escort variance, here a mixture with another, has more."""
    grid = torch.linspace(-400, 400, 400_001, dtype=torch.float64)
    width, q = (grid[1] - grid[0]).item(), 1.5

    def scaled(density):
        """Entropy and escort variance of a density of a law that is stretched to escort variance 1."""
        density = density / density.sum() / width
        escort = density**q
        variance = (escort * grid**2).sum() / escort.sum()
        s = variance.sqrt().item()
        return (1 - (density**q).sum().item() * width * s ** (1 - q)) / (q - 1)

    t = (1 + grid**2 / 3) ** -2
    others = [(-(grid**2) / 2).exp(), (1 + grid**2 / 5) ** -3, (-grid.abs()).exp(), t * (1 + 0.2 * torch.cos(grid))]
    assert all(scaled(t) > scaled(other) + 1e-5 for other in others)


@pytest.mark.parametrize("nu", [None, 4.0])
@pytest.mark.parametrize("slopes", [0, 1, 3])
def test_random_slopes_are_scipys_densities_of_a_covariance_built_in_full(nu, slopes):
    """Also in clusters of fewer rows than random effects."""
    x, y, clusters = rows()
    random = np.random.default_rng(slopes)
    k = 1 + slopes
    factor = np.tril(random.standard_normal((k, k)), -1) + np.diag(random.uniform(0.5, 2, k))
    beta, sigma = random.standard_normal(5), 0.5
    expected = 0.0
    for i, n in enumerate(SIZES):
        own = (clusters == i).numpy()
        z = x.numpy()[own][:, :k]
        v, mean = z @ factor @ factor.T @ z.T + sigma * np.eye(n), x.numpy()[own] @ beta
        if nu is None:
            expected -= multivariate_normal.logpdf(y[own], mean, v) - n / 2 * -np.log(2 * np.pi)
        else:
            constant = gammaln((nu + n) / 2) - gammaln(nu / 2) - n / 2 * np.log(nu * np.pi)
            expected -= multivariate_t.logpdf(y[own], mean, v, df=nu) - constant
    logged = factor - np.diag(np.diag(factor)) + np.diag(np.log(np.diag(factor)))
    point = torch.tensor([*beta, *logged[np.tril_indices(k)], np.log(sigma - 1e-3)])
    model = MixedModel(x, y, clusters, nu, Lasso(), 0.0, slopes)
    assert model.loss(point).item() == pytest.approx(expected / len(SIZES), abs=1e-10)


@pytest.mark.parametrize("nu", [None, 3.0])
@pytest.mark.parametrize(("seed", "slopes"), [(0, 0), (1, 0), (2, 1), (3, 3)])
def test_the_gradient_is_automatic_differentiations(nu, seed, slopes):
    x, y, clusters = rows(seed)
    model = MixedModel(x, y, clusters, nu, Scad(3.7), 0.3, slopes)
    size = 5 + (slopes + 1) * (slopes + 2) // 2 + 1
    point = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(model.loss_gradient(point.detach()), grad(model.loss(point), point)[0])


def test_the_gradient_in_coefficients_is_the_weighted_equation():
    x, y, clusters = rows()
    nu, tau, sigma = 3.0, 0.8, 0.5
    beta = np.array([0.2, 1.0, -1.0, 0.0, 0.5])
    total = np.zeros(5)
    for i, n in enumerate(SIZES):
        own = (clusters == i).numpy()
        inverse = np.linalg.inv(tau * np.ones((n, n)) + sigma * np.eye(n))
        r = y.numpy()[own] - x.numpy()[own] @ beta
        total -= (nu + n) / (nu + r @ inverse @ r) * x.numpy()[own].T @ inverse @ r / len(SIZES)
    model = MixedModel(x, y, clusters, nu, Lasso(), 0.0)
    np.testing.assert_allclose(model.loss_gradient(unknowns(beta, tau, sigma))[:5].numpy(), total, atol=1e-12)


def fitted(method, data="clustered", index=0, covariates=None):
    """A design with the leading covariates, its units, and the fit."""
    design, units = standardize(load(data).test.draw(index))
    design = replace(design, x=design.x[:, : None if covariates is None else 1 + covariates])
    return design, units, method.fit(design, method.weight_values())


@pytest.mark.parametrize("nu", [None, 4.0])
def test_without_penalty_it_is_the_minimum_that_scipy_finds(nu):
    method = TsallisMixedEffects(nu=nu, sparsity_weight=0.0, tolerance=1e-6, solver_steps=1500)
    design, _, found = fitted(method, covariates=8)
    model = MixedModel(design.x, design.y, design.clusters, nu, Lasso(), 0.0)

    def loss(point):
        return model.loss(torch.tensor(point)).item(), model.loss_gradient(torch.tensor(point)).numpy()

    options = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 2000}
    best = scipy_minimize(loss, model.origin().numpy(), jac=True, method="L-BFGS-B", options=options)
    np.testing.assert_allclose(found.coefficients.numpy(), best.x[:-2], atol=1e-4)


def test_a_fit_reports_its_index_and_its_least_trusted_cluster():
    diagnostics = fitted(TsallisMixedEffects(path_length=3), covariates=8)[2].diagnostics
    assert diagnostics["tsallis_q"] == pytest.approx((4 + 5 + 2) / (4 + 5))
    assert 0 < diagnostics["least_weight"] < 1


def test_from_the_largest_level_on_no_covariate_is_in():
    _, _, found = fitted(TsallisMixedEffects(sparsity_weight=1.001, scad_a=None, path_length=2, solver_steps=150), covariates=8)
    assert not found.selected.any()
    _, _, found = fitted(TsallisMixedEffects(sparsity_weight=0.9, scad_a=None, path_length=2, solver_steps=150), covariates=8)
    assert found.selected.any()


@pytest.mark.parametrize("seed", [0, 1])
def test_outlying_clusters_hurt_the_gaussian_model_and_not_the_robust_one(seed):
    """The card's benchmark: 0.103 against 0.480 under contamination, about the same without it."""
    error = {}
    for data in ("clustered", "clustered_outliers"):
        for nu in (3.0, None):
            method = TsallisMixedEffects(nu=nu, sparsity_weight=0.3, problems=1, path_length=2, tolerance=1e-3)
            error[data, nu] = list(method.train(Run(data, seed=seed)))[-1]["val/estimation_error"]
    assert error["clustered_outliers", 3.0] < 0.4 * error["clustered_outliers", None]
    assert error["clustered_outliers", 3.0] < 1.6 * error["clustered", 3.0]
    assert error["clustered", 3.0] < 1.3 * error["clustered", None]


@pytest.mark.parametrize("seed", [0, 1])
def test_with_random_slopes_too_outliers_hurt_the_gaussian_model_only(seed):
    error = {}
    for nu in (3.0, None):
        method = TsallisMixedEffects(nu=nu, sparsity_weight=0.0, problems=1, tolerance=1e-3, random_slopes=2)
        error[nu] = list(method.train(Run("clustered_slopes_outliers", seed=seed)))[-1]["val/estimation_error"]
    assert error[3.0] < 0.6 * error[None]


def test_random_slopes_find_their_variance_and_their_coefficients():
    """Without them, what varies counts as noise."""
    found = {slopes: fitted(MixedEffects(random_slopes=slopes), "clustered_slopes") for slopes in (0, 2)}
    variance = load("clustered_slopes").test.draw(0).y.var().item()
    assert found[2][2].diagnostics["slope_variance"] * variance == pytest.approx(0.8, rel=0.4)
    assert found[2][2].diagnostics["noise_variance"] < 0.5 * found[0][2].diagnostics["noise_variance"]
    truth = load("clustered_slopes").test.draw(0).coefficients
    errors = {slopes: (units.restore(fit.coefficients)[1:] - truth).norm() for slopes, (_, units, fit) in found.items()}
    assert errors[2] < errors[0]


def test_centring_a_covariate_with_a_random_slope_changes_no_coefficient():
    design, _ = standardize(load("clustered_slopes").test.draw(0))
    design = replace(design, x=design.x[:, :9])
    moved = design.x.clone()
    moved[:, 1:3] += 1.5
    method = MixedEffects(random_slopes=2, tolerance=1e-8, solver_steps=5000)
    one, other = (method.fit(replace(design, x=x), method.weight_values()).coefficients for x in (design.x, moved))
    torch.testing.assert_close(other[1:], one[1:], atol=1e-4, rtol=0)


def test_more_random_slopes_than_covariates_are_refused():
    with pytest.raises(ConfigError, match="there are 30 covariates"):
        next(MixedEffects(problems=1, random_slopes=31).train(Run("clustered")))


def test_switched_off_it_is_the_gaussian_model_bit_for_bit():
    settings = {"problems": 2, "path_length": 3, "solver_steps": 60}
    off = TsallisMixedEffects(**settings).baseline()
    plain = list(MixedEffects(**settings).train(Run("clustered", test=True)))
    found = list(off.train(Run("clustered", test=True)))
    shared = plain[0].keys() & found[0].keys()
    assert len(shared) >= 6
    assert [{name: m[name] for name in shared} for m in found] == [{name: m[name] for name in shared} for m in plain]


def test_a_binary_outcome_is_refused():
    with pytest.raises(ConfigError, match="mixed_effects needs a continuous outcome"):
        next(MixedEffects(problems=1).train(Run("sparse_binary")))


def test_clusters_of_one_row_share_their_variance_but_not_its_parts():
    x, y, _ = rows()
    model = MixedModel(x, y, torch.arange(20), None, Lasso(), 0.0)
    one, other = (model.loss(unknowns(torch.zeros(5), tau, 1 - tau)).item() for tau in (0.3, 0.6))
    assert one == pytest.approx(other)
