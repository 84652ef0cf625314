"""Methods of the sparse regression track on whole problems."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.registry import all_methods, create
from regbench.methods.shared.data import load
from regbench.methods.sparse_regression.high_dimensional import HighDimensional
from regbench.methods.sparse_regression.lasso import Lasso
from regbench.methods.sparse_regression.maximum_likelihood import MaximumLikelihood
from regbench.methods.sparse_regression.mcp import Mcp
from regbench.methods.sparse_regression.ridge import Ridge
from regbench.methods.sparse_regression.scad import Scad
from regbench.methods.sparse_regression.screening import Screening
from regbench.methods.sparse_regression.task import Fit, fit_metrics, standardize

FAST = {"problems": 2, "path_length": 10, "mi_grid": 64}


def make(slug, **settings):
    fields = all_methods()[slug].model_fields
    return create(slug, {name: value for name, value in (FAST | settings).items() if name in fields})


def curve(method, data="sparse_toeplitz", **options):
    return list(method.train(Run(data, **options)))


def fitted(method, problem):
    """Intercept and coefficients in the problem's units, and the fit."""
    design, units = standardize(problem)
    found = method.fit(design, method.weight_values())
    return units.restore(found.coefficients).numpy(), found


def test_metrics_are_scikit_learns():
    problem = load("sparse_toeplitz").test.draw(0)
    coefficients, found = fitted(Lasso(sparsity_weight=0.2), problem)
    metrics = fit_metrics(found, torch.tensor(coefficients), problem)
    prediction = coefficients[0] + problem.held_x.numpy() @ coefficients[1:]
    relevant, selected = problem.relevant.numpy(), coefficients[1:] != 0
    mean = np.full_like(prediction, problem.y.mean())
    deviance = (1 - r2_score(problem.held_y, prediction)) / (1 - r2_score(problem.held_y, mean))
    assert metrics["relative_deviance"] == pytest.approx(deviance)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(relevant, found.scores))
    assert metrics["ppv"] == pytest.approx(relevant[selected].mean(), abs=1e-6)
    assert metrics["npv"] == pytest.approx((~relevant)[~selected].mean(), abs=1e-6)
    assert metrics["estimation_error"] == pytest.approx(np.linalg.norm(coefficients[1:] - problem.coefficients.numpy()))


def test_deviance_of_a_binary_outcome_is_its_log_loss():
    problem = load("sparse_binary").test.draw(0)
    coefficients, found = fitted(Ridge(), problem)
    p = 1 / (1 + np.exp(-(coefficients[0] + problem.held_x.numpy() @ coefficients[1:])))
    expected = log_loss(problem.held_y, p) / log_loss(problem.held_y, np.full_like(p, problem.y.mean()))
    assert fit_metrics(found, torch.tensor(coefficients), problem)["relative_deviance"] == pytest.approx(expected)


def test_nothing_selected_is_no_true_positive():
    problem = load("squared_covariates").test.draw(0)
    nothing = Fit(torch.zeros(201).double(), torch.zeros(200, dtype=torch.bool), torch.zeros(200).double())
    metrics = fit_metrics(nothing, torch.zeros(201).double(), problem)
    assert (metrics["ppv"], metrics["auroc"], metrics["estimation_error"]) == (0, 0.5, 0)
    assert metrics["npv"] == pytest.approx(0.95)


def test_maximum_likelihood_is_least_squares():
    problem = load("clustered").test.draw(0)
    coefficients, _ = fitted(MaximumLikelihood(), problem)
    reference = LinearRegression().fit(problem.x, problem.y)
    np.testing.assert_allclose(coefficients, [reference.intercept_, *reference.coef_], atol=1e-9)


def test_maximum_likelihood_is_logistic_regression():
    problem = load("sparse_binary").test.draw(0)
    few = problem.x[:, :8], problem.held_x[:, :8]
    small = type(problem)(few[0], problem.y, problem.clusters, few[1], problem.held_y, *[problem.coefficients] * 2, "binary")
    coefficients, _ = fitted(MaximumLikelihood(tolerance=1e-9), small)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(small.x, small.y)
    np.testing.assert_allclose(coefficients, [*reference.intercept_, *reference.coef_[0]], atol=1e-4)


@pytest.mark.parametrize("weight", [0.01, 1.0])
def test_ridge_is_scikit_learns(weight):
    problem = load("sparse_toeplitz").test.draw(0)
    design, _ = standardize(problem)
    found = Ridge(ridge_weight=weight).fit(design, Ridge(ridge_weight=weight).weight_values())
    reference = SklearnRidge(alpha=weight * len(design.x)).fit(design.x[:, 1:], design.y)
    np.testing.assert_allclose(found.coefficients[1:].numpy(), reference.coef_, atol=1e-9)


def test_logistic_ridge_is_scikit_learns():
    design, _ = standardize(load("sparse_binary").test.draw(0))
    method = Ridge(ridge_weight=0.1, tolerance=1e-9)
    reference = LogisticRegression(C=1 / (0.1 * len(design.x)), tol=1e-10, max_iter=1000).fit(design.x[:, 1:], design.y)
    found = method.fit(design, method.weight_values()).coefficients.numpy()
    np.testing.assert_allclose(found, [*reference.intercept_, *reference.coef_[0]], atol=1e-5)


@pytest.mark.parametrize("slug", ["lasso", "scad", "mcp", "ridge"])
def test_units_of_covariates_and_outcome_change_nothing(slug):
    problem = load("sparse_toeplitz").test.draw(1)
    scales = torch.linspace(0.1, 10, 500, dtype=torch.float64)
    moved = type(problem)(
        problem.x * scales + 3, 7 * problem.y - 2, problem.clusters, problem.held_x, problem.held_y,
        problem.coefficients, problem.relevant, "continuous",
    )  # fmt: skip
    method = make(slug)
    one, other = fitted(method, problem)[0], fitted(method, moved)[0]
    np.testing.assert_allclose(other[1:] * scales.numpy() / 7, one[1:], atol=1e-6)


@pytest.mark.parametrize("slug", ["ridge", "lasso", "scad", "mcp", "screening", "high_dimensional"])
@pytest.mark.parametrize("data", ["sparse_toeplitz", "sparse_binary"])
def test_switched_off_it_is_maximum_likelihood_bit_for_bit(slug, data):
    settings = {"solver_steps": 200}
    off = curve(make(slug, **settings).baseline(), data, test=True)
    assert off == curve(make("maximum_likelihood", **settings), data, test=True)


@pytest.mark.parametrize("slug", ["scad", "mcp"])
def test_without_concavity_it_is_lasso(slug):
    shape = {"scad_a": None} if slug == "scad" else {"mcp_gamma": None}
    assert curve(make(slug, sparsity_weight=0.2, **shape)) == curve(make("lasso", sparsity_weight=0.2))


@pytest.mark.parametrize("slug", ["scad", "high_dimensional"])
def test_interrupted_and_resumed_the_curve_is_the_same(slug):
    method = make(slug)
    whole, checkpoint, found = curve(method, test=True), None, []
    for _ in range(method.rounds):
        run = Run("sparse_toeplitz", test=True, checkpoint=checkpoint)
        found.append(next(method.train(run)))
        checkpoint = run.state()
    assert found == whole


def test_seeds_draw_problems_and_methods_share_them():
    first, second = (curve(make("maximum_likelihood"), seed=seed)[-1]["val/relative_deviance"] for seed in (0, 1))
    assert first != second
    assert first == curve(make("lasso", sparsity_weight=0.0), seed=0)[-1]["val/relative_deviance"]


@pytest.mark.parametrize("estimator", ["kde", "binning", "knn", "pearson"])
def test_screening_keeps_as_many_as_asked_and_fits_them_by_least_squares(estimator):
    problem = load("sparse_toeplitz").test.draw(2)
    coefficients, found = fitted(Screening(num_screened=12, mi_estimator=estimator, mi_grid=64), problem)
    assert int(found.selected.sum()) == 12
    kept = found.selected.numpy()
    assert set(np.flatnonzero(kept)) == set(found.scores.argsort(descending=True)[:12].tolist())
    reference = LinearRegression().fit(problem.x[:, kept], problem.y)
    np.testing.assert_allclose(coefficients[1:][kept], reference.coef_, atol=1e-9)
    assert not coefficients[1:][~kept].any()


def test_the_pipeline_with_all_covariates_is_scad():
    settings = {"sparsity_weight": 0.3, "problems": 1, "path_length": 10}
    pipeline = curve(HighDimensional(num_screened=500, mi_estimator="pearson", **settings))[0]
    plain = curve(Scad(**settings))[0]
    for name in ("val/relative_deviance", "val/estimation_error", "val/ppv", "val/objective"):
        assert pipeline[name] == pytest.approx(plain[name], rel=1e-5)


def test_the_pipeline_ranks_what_it_selects_first():
    method = HighDimensional(num_screened=40, mi_estimator="pearson", path_length=10)
    _, found = fitted(method, load("sparse_toeplitz").test.draw(0))
    assert 0 < found.selected.sum() < 40
    assert found.scores[found.selected].min() > found.scores[~found.selected].max()


def test_screening_finds_squares_that_correlation_misses():
    """The card's benchmark: 0.996 by kernels, 0.758 by neighbours, 0.516 by correlation."""
    scores = {
        name: curve(Screening(problems=3, mi_estimator=name, mi_grid=64), "squared_covariates")[-1]["val/auroc"]
        for name in ("kde", "knn", "pearson")
    }
    assert scores["kde"] > 0.93
    assert scores["kde"] > scores["knn"] + 0.1 > scores["pearson"] + 0.2


def test_nonconvex_penalties_select_more_truly_than_lasso_at_the_same_error():
    lasso = curve(Lasso(problems=3, sparsity_weight=0.1))[-1]
    for method in (Scad(problems=3, sparsity_weight=0.2), Mcp(problems=3, sparsity_weight=0.2)):
        found = curve(method)[-1]
        assert found["val/ppv"] > 2 * lasso["val/ppv"]
        assert found["val/estimation_error"] < lasso["val/estimation_error"]


def test_data_of_another_track_are_refused():
    with pytest.raises(ConfigError, match="digits holds no regression problems"):
        next(Scad().train(Run("digits")))


def test_a_pool_holds_so_many_problems():
    with pytest.raises(ConfigError, match="set problems to at most 200"):
        next(Scad(problems=201).train(Run("sparse_toeplitz")))
