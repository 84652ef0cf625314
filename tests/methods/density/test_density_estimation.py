"""Noise, normalizers and samples against closed forms and other libraries; training, convergence and its measures."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from regbench.methods import Run
from regbench.methods.density.compositional_unnormalized import CompositionalUnnormalized
from regbench.methods.density.estimation import annealed_log_normalizer, grid_log_normalizer, langevin
from regbench.methods.density.exponential_nce import ExponentialNCE
from regbench.methods.density.importance_likelihood import ImportanceLikelihood
from regbench.methods.density.noise import Noise, fit_noise
from regbench.methods.density.noise_alone import NoiseAlone
from regbench.methods.density.noise_contrastive import NoiseContrastive
from regbench.methods.errors import ConfigError

MEAN = {"energy": "gaussian_mean", "noise": "standard", "optimizer": "sgd", "learning_rate": 0.1, "target_error": 0.1}
MEAN |= {"iterations": 1000, "report_every": 500, "batch_size": 64}


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=stream(seed))


def curve(method, data, **options):
    return list(method.train(Run(data, **options)))


# Noise


def test_gaussian_noise_has_scipys_density_and_the_samples_moments():
    x = normal(500, 3) @ normal(3, 3, seed=1) + 2
    q = fit_noise("gaussian", 1.5, 1, x, 0)
    ridge = 1e-3 * x.var(0).mean().item()
    covariance = 2.25 * (np.cov(x.T.numpy()) + ridge * np.eye(3))
    np.testing.assert_allclose(q.log_prob(x), multivariate_normal(x.mean(0).numpy(), covariance).logpdf(x.numpy()), atol=1e-8)
    samples = q.sample(100_000, stream()).numpy()
    np.testing.assert_allclose(samples.mean(0), x.mean(0), atol=0.03 * math.sqrt(covariance.max()))
    np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.03 * covariance.max())


def test_mixtures_are_scikit_learns():
    x = torch.cat([normal(300, 2), 0.5 * normal(100, 2, seed=1) + 4])
    q = fit_noise("mixture", 1.0, 2, x, 0)
    fitted = GaussianMixture(2, reg_covar=1e-3 * x.var(0).mean().item(), random_state=0).fit(x.numpy())
    np.testing.assert_allclose(q.log_prob(x), fitted.score_samples(x.numpy()), atol=1e-8)
    samples = q.sample(50_000, stream())
    np.testing.assert_allclose(samples.mean(0), fitted.weights_ @ fitted.means_, atol=0.05)
    assert ((samples[:, 0] > 2).double().mean().item()) == pytest.approx(min(fitted.weights_), abs=0.03)


# Normalizers and samples


def gaussian(theta):
    """h(x) = θᵀx - ‖x‖² / 2 and its log Z."""
    return lambda x: x @ theta - 0.5 * x.square().sum(1), 0.5 * len(theta) * math.log(2 * math.pi) + 0.5 * theta.square().sum()


@pytest.mark.parametrize("theta", [[0.5], [3.0], [1.0, -2.0]])
def test_grids_integrate_gaussians(theta):
    theta = torch.tensor(theta, dtype=torch.float64)
    h, log_Z = gaussian(theta)
    assert grid_log_normalizer(h, (-12.0, 12.0), len(theta), theta).item() == pytest.approx(log_Z.item(), abs=1e-6)


def test_annealing_gives_the_normalizer_where_plain_importance_sampling_does_not():
    theta = torch.full((8,), 1.5, dtype=torch.float64)
    h, log_Z = gaussian(theta)
    q = Noise(*(t.double() for t in (torch.zeros(1), torch.zeros(1, 8), torch.eye(8)[None])))
    found, share = annealed_log_normalizer(h, q, 1000, (8,), stream())
    assert found.item() == pytest.approx(log_Z.item(), abs=0.15)
    assert share > 0.15
    x = q.sample(1000, stream())
    w = (h(x) - q.log_prob(x)).exp()
    assert (w.sum() ** 2 / w.square().sum()) / 1000 < 0.05


def test_the_noise_itself_needs_no_annealing():
    q = Noise(*(t.double() for t in (torch.zeros(1), torch.ones(1, 3), 2 * torch.eye(3)[None])))
    found, share = annealed_log_normalizer(q.log_prob, q, 100, (3,), stream())
    assert found.item() == pytest.approx(0, abs=1e-9)
    assert share == pytest.approx(1)


def test_langevin_chains_end_in_their_distribution():
    """With steps of ε, the variance of a standard normal target is 1 / (1 - ε / 4)."""
    h, _ = gaussian(torch.tensor([1.0, -2.0], dtype=torch.float64))
    x = langevin(h, torch.zeros(20_000, 2).double(), 200, 0.2, stream())
    np.testing.assert_allclose(x.mean(0), [1, -2], atol=0.03)
    np.testing.assert_allclose(np.cov(x.T.numpy()), np.eye(2) / 0.95, atol=0.04)


# Training


def test_noise_alone_has_its_own_likelihood():
    """The card's 3.552 for Gaussian noise on the ring."""
    found = curve(NoiseAlone(), "gaussian_ring", test=True)[-1]
    assert found["val/nll"] == pytest.approx(3.552, abs=0.02)
    assert found["test/nll"] == pytest.approx(3.552, abs=0.02)


def test_training_starts_from_the_noise():
    first = curve(ImportanceLikelihood(iterations=1, report_every=1, learning_rate=1e-12), "gaussian_ring")[0]
    assert first["val/nll"] == pytest.approx(curve(NoiseAlone(), "gaussian_ring")[0]["val/nll"], abs=1e-6)


@pytest.mark.parametrize("method", [ImportanceLikelihood, CompositionalUnnormalized, NoiseContrastive, ExponentialNCE])
def test_every_method_learns_the_ring(method):
    settings = {"iterations": 500, "report_every": 500, "learning_rate": 3e-3}
    found = curve(method(**settings), "gaussian_ring")[-1]
    assert found["val/nll"] < 2.5
    assert found["val/auroc"] > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_compositional_optimization_finds_a_mean_sooner_than_noise_contrast(seed):
    """The card: 175 steps against 1194 and 24 at γ = 1, whose bias is larger."""
    shared = MEAN | {"noise_scale": 2.0}
    slow = curve(NoiseContrastive(**shared), "gaussian_mean_3", seed=seed)[-1]
    plain = curve(ImportanceLikelihood(**shared), "gaussian_mean_3", seed=seed)[-1]
    ours = curve(CompositionalUnnormalized(**shared, gradient_moving_average_rate=0.5), "gaussian_mean_3", seed=seed)[-1]
    assert plain["val/steps_to_target"] < ours["val/steps_to_target"] < 300 < 700 < slow["val/steps_to_target"]
    assert ours["val/mean_error"] < slow["val/mean_error"]
    assert ours["val/nll"] < slow["val/nll"]
    # Where the mean is found, the likelihood is that of N(3, 1): entropy ½ log 2πe.
    assert ours["val/nll"] == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.05)


def test_the_last_steps_of_a_training_that_cannot_be_divided_are_done():
    found = curve(CompositionalUnnormalized(**MEAN | {"iterations": 7, "report_every": 3}), "gaussian_mean_1")
    assert len(found) == 3
    assert found[-1]["val/steps_to_target"] == 8


@pytest.mark.parametrize(
    "method",
    [
        CompositionalUnnormalized(**MEAN | {"iterations": 30, "report_every": 10}, gradient_moving_average_rate=0.5),
        ExponentialNCE(**MEAN | {"iterations": 30, "report_every": 10}),
        NoiseContrastive(**MEAN | {"iterations": 30, "report_every": 10}, normalizer="known"),
    ],
)
def test_averages_and_convergence_survive_an_interruption(method):
    whole, checkpoint, pieces = curve(method, "gaussian_mean_2"), None, []
    for _ in range(3):
        run = Run("gaussian_mean_2", checkpoint=checkpoint)
        pieces.append(next(iter(method.train(run))))
        checkpoint = run.state()
    assert pieces == whole


# Refusals


def test_what_cannot_be_is_refused():
    with pytest.raises(ValidationError, match="mlp has no mean to converge"):
        ImportanceLikelihood(target_error=0.1)
    with pytest.raises(ValidationError, match="the normalizer of mlp is not known"):
        NoiseContrastive(normalizer="known")
    with pytest.raises(ConfigError, match="set target_error to 0"):
        curve(ImportanceLikelihood(**MEAN), "gaussian_ring")
    with pytest.raises(ConfigError, match="set energy to mlp"):
        curve(ImportanceLikelihood(energy="conv"), "gaussian_ring")
    with pytest.raises(ConfigError, match="set langevin_steps to 0"):
        curve(ImportanceLikelihood(**MEAN | {"iterations": 1}, langevin_steps=1), "gaussian_mean_1")


def test_convolutions_start_from_the_noise_too():
    model = ImportanceLikelihood(energy="conv", hidden_dim=4).build_model(SimpleNamespace(name="", meta={"shape": (1, 28, 28)}))
    log_noise = torch.randn(3)
    assert torch.equal(model(torch.randn(3, 1, 28, 28), log_noise), log_noise)
