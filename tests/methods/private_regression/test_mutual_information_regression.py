"""MID for linear regression: its information, its solution in closed form, and attackers who find less."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.private_regression.least_squares import LeastSquares
from regbench.methods.private_regression.mutual_information_regression import (
    MutualInformationRegression,
    pairwise_information,
)
from regbench.methods.private_regression.task import Batch, covariance, gaussian_information
from regbench.methods.shared.data import load


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def rows(count=150, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)) @ random.normal(size=(4, 4))
    return tensor(x), tensor(x @ [1.0, -0.5, 0.2, 0] + random.normal(size=count))


# Information


def test_the_cards_information():
    sigma = tensor([[1.0, 0.3], [0.3, 1.0]])
    assert gaussian_information(tensor([1.0, 2.0]), sigma, 0.5).item() == pytest.approx(1.625187, abs=1e-6)
    assert gaussian_information(tensor([0.0, 0.0]), sigma, 0.5).item() == 0


def test_it_grows_with_the_weights_and_does_not_depend_on_the_coordinates():
    x, _ = rows()
    w, a = tensor([1.0, -0.5, 0.2, 0.7]), rows(4, 1)[0]
    values = [gaussian_information(scale * w, covariance(x), 0.3).item() for scale in (0.1, 1, 3)]
    assert values == sorted(values)
    changed = gaussian_information(torch.linalg.solve(a.mT, w), covariance(x @ a.mT), 0.3)
    assert changed.item() == pytest.approx(values[1], rel=1e-9)


def test_the_pairwise_bound_lies_between_nothing_and_everything():
    assert pairwise_information(torch.ones(40).double(), 0.3).item() == pytest.approx(0, abs=1e-12)
    assert pairwise_information(torch.arange(40).double(), 0.01).item() == pytest.approx(math.log(40))
    predicted = rows(40)[1]
    assert 0 < pairwise_information(predicted, 0.3).item() < math.log(40)


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
def test_the_pairwise_bound_is_above_the_information_of_the_mixture(noise):
    """H(Ŷ) - ½ log 2πeσ² by quadrature."""
    predicted = rows(20)[1].numpy()

    def surprise(value):
        p = norm.pdf(value, predicted, noise).mean()
        return -p * math.log(p) if p > 0 else 0.0

    entropy, _ = quad(
        surprise, predicted.min() - 12 * noise, predicted.max() + 12 * noise, limit=1000, points=np.sort(predicted)
    )
    truth = entropy - 0.5 * math.log(2 * math.pi * math.e * noise**2)
    bound = pairwise_information(tensor(predicted), noise).item()
    assert truth - 1e-6 <= bound <= math.log(20)
    assert bound < truth + 0.6


# Fits


def test_without_a_weight_it_is_least_squares():
    x, y = rows()
    for method in (LeastSquares(), MutualInformationRegression(information_weight=0.0)):
        model = method.fit(x, y, None)
        np.testing.assert_allclose(model.predict(x).numpy(), LinearRegression().fit(x, y).predict(x), atol=1e-6)


@pytest.mark.parametrize(("weight", "noise"), [(0.05, 0.2), (0.3, 0.5), (1.0, 0.5)])
def test_the_gaussian_penalty_shrinks_least_squares_by_the_scale_that_solves_one_equation(weight, noise):
    """Both terms see w through the covariance alone: w = c w₀ with 2 (1 - c) = λ c / (σ₀² + c² V), V the variance of w₀ᵀx."""
    x, y = rows()
    plain = LinearRegression().fit(x, y)
    variance = plain.predict(x).var()
    scales = np.linspace(1e-6, 1, 200_001)
    loss = (1 - scales) ** 2 * variance + weight / 2 * np.log1p(scales**2 * variance / noise**2)
    near = scales[loss.argmin()]
    scale = brentq(lambda c: 2 * (1 - c) - weight * c / (noise**2 + c**2 * variance), near - 1e-3, near + 1e-3)
    model = MutualInformationRegression(information_weight=weight, output_noise_std=noise).fit(x, y, None)
    expected = scale * (plain.predict(x) - y.numpy().mean()) + y.numpy().mean()
    if loss.min() < loss[0]:
        np.testing.assert_allclose(model.predict(x).numpy(), expected, atol=1e-5)
    assert model.information == pytest.approx(0.5 * math.log1p(scale**2 * variance / noise**2), abs=1e-5)


def test_gradients_reach_both_parameters_and_the_weights_is_the_information():
    x, y = rows()
    linear = torch.nn.Linear(4, 1).double()
    for estimate in ("gaussian", "pairwise"):
        method = MutualInformationRegression(estimate=estimate)
        value = tensor(0.0).requires_grad_()
        weights = method.weight_values()
        weights.information_weight = value
        loss, predicted = method.objective(linear, Batch(x, y), weights)
        found = torch.autograd.grad(loss, [value, *linear.parameters()])
        expected = (
            gaussian_information(linear.weight[0], covariance(x), method.output_noise_std)
            if estimate == "gaussian"
            else pairwise_information(predicted, method.output_noise_std)
        )
        assert found[0].item() == pytest.approx(expected.item())
        assert all(gradient.abs().max() > 0 for gradient in found)


# Release and attack


def judged(method, seed=0):
    return next(method.train(Run("private_diabetes", seed=seed, test=True)))


def test_without_noise_sex_is_given_away_and_with_much_noise_it_is_not():
    loud, quiet = (judged(LeastSquares(output_noise_std=noise)) for noise in (1e-3, 100.0))
    assert loud["val/attack_accuracy"] == 1
    assert loud["val/attack_advantage"] > 0.2
    assert quiet["val/attack_advantage"] < 0.05
    # Who knows the other columns guesses better than the majority.
    assert 0.55 < loud["val/attack_accuracy"] - loud["val/attack_advantage"] < 0.85


def test_the_released_fit_is_that_of_the_predictions_less_the_noise():
    data = load("private_diabetes")
    method = LeastSquares(share=1.0, output_noise_std=0.3)
    fitted = LinearRegression().fit(*data.train.tensors)
    x, y = data.test.tensors
    scores = [judged(method, seed)["test/r2"] for seed in range(40)]
    expected = fitted.score(x, y) - 0.3**2 / y.numpy().var()
    assert np.mean(scores) == pytest.approx(expected, abs=4 * np.std(scores) / math.sqrt(40))


def test_exposure_is_the_attack_plus_what_the_fit_lacks():
    metrics = judged(LeastSquares(output_noise_std=0.5, utility_floor=0.9))
    assert metrics["val/exposure"] == pytest.approx(metrics["val/attack_accuracy"] + 0.9 - metrics["val/r2"])
    kept = judged(LeastSquares(output_noise_std=0.1, utility_floor=0.0))
    assert kept["val/exposure"] == kept["val/attack_accuracy"]


def test_the_penalty_leaves_attackers_less_at_the_same_noise():
    found = [
        [judged(method, seed)["test/attack_accuracy"] for seed in range(5)]
        for method in (LeastSquares(), MutualInformationRegression(information_weight=0.4))
    ]
    assert np.mean(found[1]) < np.mean(found[0]) - 0.03


def test_switched_off_it_is_least_squares_bit_for_bit():
    off = MutualInformationRegression(estimate="pairwise").baseline()
    assert judged(off) == judged(LeastSquares())


def test_data_without_an_attribute_to_protect_are_refused():
    with pytest.raises(ConfigError, match="private_digits has no attribute to protect: choose one of private_diabetes"):
        next(LeastSquares().train(Run("private_digits")))
