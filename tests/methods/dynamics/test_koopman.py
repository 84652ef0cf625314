"""Koopman autoencoders: operators, objectives, where gradients go, forecasts and spectra."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures
from torch.utils.data import TensorDataset

from regbench.methods import Run
from regbench.methods.dynamics.dmd import DMD
from regbench.methods.dynamics.edmd import EDMD
from regbench.methods.dynamics.information import covariance, von_neumann_entropy, window_info_nce
from regbench.methods.dynamics.koopman_autoencoder import KoopmanAutoencoder
from regbench.methods.dynamics.koopman_information import KoopmanInformation
from regbench.methods.dynamics.metrics import forecast_metrics, histogram_divergence, spectrum
from regbench.methods.dynamics.networks import KoopmanNetwork
from regbench.methods.dynamics.operators import least_squares, ridge_operators
from regbench.methods.dynamics.task import Batch, pool_of_workers
from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import Data, load

A = torch.tensor([[0.9, 0.3, 0.0], [-0.3, 0.9, 0.1], [0.0, 0.0, 0.8]], dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(trajectories, steps, seed=0):
    """Trajectories of x_{t+1} = x_t A, ``[N, L, 3]``."""
    states = [normal(trajectories, 3, seed=seed)]
    for _ in range(steps - 1):
        states.append(states[-1] @ A)
    return torch.stack(states, dim=1)


@pytest.fixture(scope="module")
def linear_data():
    splits = [TensorDataset(linear(12, 60, seed).float()) for seed in range(3)]
    return Data("linear", *splits, {"shape": (3,), "dt": 1.0, "frequency": math.atan2(0.3, 0.9)})


def same(value):
    return value


def batch(method, x, seed=0):
    noise = normal(*x.shape[:2], method.latent_dim, seed=seed) if method.objective_form == "variational" else None
    return Batch(x, noise, same, same)


def network(method, shape=(3,), seed=0):
    torch.manual_seed(seed)
    return method.build_model(SimpleNamespace(meta={"shape": shape})).double()


def value(method, model, x, **weights):
    return method.objective(model, batch(method, x), SimpleNamespace(**vars(method.weight_values()) | weights))[0]


# Operators


@pytest.mark.parametrize(("steps", "width"), [(9, 4), (3, 6)])
def test_window_operators_are_ridge_regressions(steps, width):
    z, following = normal(5, steps, width), normal(5, steps, width, seed=1)
    found = ridge_operators(z, following, 0.1)
    for K, one, other in zip(found, z, following, strict=True):
        expected = Ridge(alpha=0.1, fit_intercept=False).fit(one.numpy(), other.numpy()).coef_.T
        np.testing.assert_allclose(K, expected, atol=1e-9)


def test_linear_data_give_their_operator():
    x = linear(6, 20)
    torch.testing.assert_close(ridge_operators(x[:, :-1], x[:, 1:], 1e-12).mean(0), A, atol=1e-6, rtol=0)
    torch.testing.assert_close(least_squares(x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)), A, atol=1e-9, rtol=0)


def test_least_squares_of_dependent_coordinates_is_the_smallest_solution():
    x = linear(6, 20)
    z = torch.cat([x, x[..., :1]], dim=2)
    rows, following = z[:, :-1].flatten(0, 1), z[:, 1:].flatten(0, 1)
    torch.testing.assert_close(least_squares(rows, following), torch.linalg.pinv(rows) @ following, atol=1e-8, rtol=0)


# Objectives


def test_the_released_loss_by_loops():
    method = KoopmanAutoencoder(latent_dim=2, window_length=5)
    model, x = network(method), normal(4, 6, 3)
    z = torch.stack([model.encoder(x[:, t]) for t in range(6)], dim=1)
    K = torch.stack(
        [torch.tensor(Ridge(0.1, fit_intercept=False).fit(w[:-1], w[1:]).coef_.T) for w in z.detach().numpy()]
    ).mean(0)
    forward = sum((model.decoder(z[:, t] @ K) - x[:, t + 1]).square().mean() for t in range(5))
    identity = sum((model.decoder(z[:, t]) - x[:, t]).square().mean() for t in range(5))
    latent = sum((z[:, t] @ K - z[:, t + 1]).square().mean() for t in range(5))
    found = value(method, model, x, reconstruction_weight=0.3, koopman_consistency_weight=0.7)
    assert found.item() == pytest.approx((forward + 0.3 * identity + 0.7 * latent).item())


def test_the_papers_loss_by_loops():
    method = KoopmanAutoencoder(latent_dim=2, window_length=5, objective_form="paper", operator="parameter")
    model, x = network(method), normal(4, 6, 3)
    z = [model.encoder(x[:, t]) for t in range(6)]
    K = model.operator
    reconstruction = sum((model.decoder(z[t]) - x[:, t]).square().sum(1).mean() for t in range(6)) / 6
    latent = sum((z[t] @ K - z[t + 1]).square().sum(1).mean() for t in range(5)) / 5
    found = value(method, model, x, koopman_consistency_weight=0.7)
    assert found.item() == pytest.approx((reconstruction + 0.7 * latent).item())


def test_the_variational_loss_by_torchs_distributions():
    method = KoopmanAutoencoder(latent_dim=2, window_length=5, objective_form="variational", operator="parameter")
    model, x = network(method), normal(4, 6, 3)
    with torch.no_grad():
        model.operator.copy_(normal(2, 2, seed=3))
        model.transition_log_variance.copy_(normal(2, seed=4))
    given = batch(method, x)
    mean, log_variance = model.encoder(x.flatten(0, 1)).unflatten(0, (4, 6)).chunk(2, dim=2)
    p = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    z = mean + p.scale * given.noise
    transition = torch.distributions.Normal(z[:, :-1] @ model.operator, (0.5 * model.transition_log_variance).exp())
    prior = torch.distributions.kl_divergence(p, torch.distributions.Normal(torch.zeros(2), torch.ones(2))).sum(2)
    likelihood = torch.distributions.Normal(model.decoder(z.flatten(0, 1)).unflatten(0, (4, 6)), 1.0).log_prob(x).sum(2)
    likelihood = likelihood + 1.5 * math.log(2 * math.pi)
    beta = transition.log_prob(z[:, 1:]).sum(2) + p.entropy()[:, 1:].sum(2)
    expected = -(likelihood[:, 1:] + likelihood[:, :-1] - prior[:, :-1] + 0.7 * beta).mean()
    found = method.objective(model, given, SimpleNamespace(reconstruction_weight=0.0, koopman_consistency_weight=0.7))[0]
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("form", ["code", "paper", "variational"])
@pytest.mark.parametrize(("sign", "factor"), [("paper", -1), ("code", 1)])
def test_information_and_entropy_are_added_with_their_signs(form, sign, factor):
    settings = {"latent_dim": 3, "window_length": 8, "objective_form": form}
    method, plain = KoopmanInformation(**settings, neighborhood_size=2, entropy_sign=sign), KoopmanAutoencoder(**settings)
    model, x = network(method), normal(4, 9, 3)
    z = plain.objective(model, batch(plain, x), plain.weight_values())[1].latents[:, :-1]
    base = value(plain, model, x).item()
    assert value(method, model, x, mutual_information_weight=0.0, von_neumann_entropy_weight=0.0).item() == base
    found = value(method, model, x, mutual_information_weight=0.4, von_neumann_entropy_weight=0.3).item()
    expected = base + 0.4 * window_info_nce(z, 2, 0.1).item() + factor * 0.3 * von_neumann_entropy(covariance(z)).item()
    assert found == pytest.approx(expected)


def test_the_temperature_is_read_from_the_weights():
    method = KoopmanInformation(latent_dim=3, window_length=8, von_neumann_entropy_weight=0.0, mutual_information_weight=1.5)
    model, x = network(method), normal(4, 9, 3)
    z = method.objective(model, batch(method, x), method.weight_values())[1].latents[:, :-1]
    base = value(method, model, x, mutual_information_weight=0.0).item()
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    found = value(method, model, x, temperature=temperature)
    assert found.item() == pytest.approx(base + 1.5 * window_info_nce(z, 3, 0.4).item())
    assert torch.autograd.grad(found, temperature)[0].abs() > 1e-6


def test_the_logarithm_of_the_closed_form():
    model, x = network(KoopmanInformation(latent_dim=2)), normal(8, 17, 3)
    one, other = (
        value(KoopmanInformation(latent_dim=2, information_estimate=name), model, x, von_neumann_entropy_weight=0.0).item()
        for name in ("gaussian", "log_gaussian")
    )
    base = value(KoopmanAutoencoder(latent_dim=2), model, x).item()
    assert (base - other) / 2 == pytest.approx(math.log((base - one) / 2))


# Gradients


@pytest.mark.parametrize("estimate", ["code", "paper", "gaussian", "log_gaussian"])
@pytest.mark.parametrize("operator", ["ridge", "parameter"])
@pytest.mark.parametrize("form", ["code", "paper", "variational"])
def test_gradients_reach_every_parameter(form, operator, estimate):
    method = KoopmanInformation(
        latent_dim=2, objective_form=form, operator=operator, information_estimate=estimate, koopman_consistency_weight=1.0
    )
    model = network(method)
    value(method, model, normal(4, 17, 3)).backward()
    assert {name for name, p in model.named_parameters() if not p.grad.any()} == set()


@pytest.mark.parametrize("estimate", ["code", "paper"])
def test_what_the_paper_adds_reaches_the_encoder_alone(estimate):
    method = KoopmanInformation(latent_dim=2, information_estimate=estimate)
    model, x = network(method), normal(4, 17, 3)
    difference = value(method, model, x) - value(
        method, model, x, mutual_information_weight=0.0, von_neumann_entropy_weight=0.0
    )
    difference.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad.abs().max() > 1e-12) == name.startswith("encoder"), name


def test_no_gradient_passes_through_the_fitted_operator():
    """The loss of forecasts has the gradient that it has for a fixed operator of the same value."""
    method = KoopmanAutoencoder(latent_dim=2)
    model, x = network(method), normal(4, 17, 3)
    loss, found = method.objective(model, batch(method, x), method.weight_values())
    loss.backward()
    fixed = network(KoopmanAutoencoder(latent_dim=2, operator="parameter"))
    fixed.load_state_dict(model.state_dict() | {"operator": found.operator})
    value(method, fixed, x).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, fixed.get_parameter(name).grad)


def test_pooled_latents_of_two_workers_have_the_gradient_of_the_whole_batch():
    whole = normal(6, 4, 3).requires_grad_()
    von_neumann_entropy(covariance(whole)).backward()
    gradients = []
    for rank in range(2):
        own = whole.detach()[3 * rank : 3 * rank + 3].clone().requires_grad_()
        run = SimpleNamespace(world=SimpleNamespace(size=2, rank=rank), gather=lambda z: whole.detach().clone())
        von_neumann_entropy(covariance(pool_of_workers(run)(own))).backward()
        gradients.append(own.grad / 2)
    torch.testing.assert_close(torch.cat(gradients), whole.grad)


# Training


def curve(method, data="van_der_pol", **options):
    return list(method.train(Run(data, **options)))


@pytest.mark.parametrize("form", ["code", "paper", "variational"])
@pytest.mark.parametrize("operator", ["ridge", "parameter"])
def test_switched_off_it_is_the_autoencoder_in_every_form(form, operator, linear_data):
    shared = {"objective_form": form, "operator": operator, "epochs": 2, "latent_dim": 2, "koopman_consistency_weight": 0.5}
    off = KoopmanInformation(**shared, mutual_information_weight=0.0, von_neumann_entropy_weight=0.0)
    assert curve(off, linear_data) == curve(KoopmanAutoencoder(**shared), linear_data)


def test_with_all_weights_off_it_is_the_autoencoder_as_it_comes(linear_data):
    """Which reconstructs: without, nothing would tie its decoder to the states that it encodes."""
    off = KoopmanInformation(epochs=2, temperature=0.3, reconstruction_weight=0.7, koopman_consistency_weight=0.5).baseline()
    assert curve(off, linear_data) == curve(KoopmanAutoencoder(epochs=2), linear_data)


@pytest.mark.parametrize("inference", ["least_squares", "trained"])
@pytest.mark.parametrize("form", ["code", "variational"])
def test_every_form_resumes_from_its_state(form, inference, linear_data):
    method = KoopmanInformation(objective_form=form, inference_operator=inference, epochs=3, latent_dim=2)
    whole, checkpoint, pieces = curve(method, linear_data), None, []
    for _ in range(3):
        run = Run(linear_data, checkpoint=checkpoint)
        pieces.append(next(iter(method.train(run))))
        checkpoint = run.state()
    assert pieces == whole


def test_entropy_spreads_latents_and_the_released_sign_does_not():
    dimension = {
        (weight, sign): curve(
            KoopmanInformation(epochs=3, mutual_information_weight=0.0, von_neumann_entropy_weight=weight, entropy_sign=sign)
        )[-1]["val/effective_dimension"]
        for weight, sign in ((0.0, "paper"), (0.1, "paper"), (0.5, "paper"), (0.5, "code"))
    }
    assert dimension[0.5, "code"] < dimension[0.0, "paper"] < dimension[0.1, "paper"] < dimension[0.5, "paper"]


def test_frames_are_encoded_by_convolutions():
    torch.manual_seed(0)
    model = KoopmanNetwork((2, 32, 32), 6, 1, "conv", "ridge", 0.1, variational=False).eval()
    found = model(torch.randn(2, 5, 2, 32, 32), None, same)
    assert found.latents.shape == (2, 5, 6)
    assert found.predictions.shape == (2, 4, 2, 32, 32)
    assert found.operator.shape == (6, 6)


@pytest.mark.parametrize("system", ["van_der_pol", "lorenz63", "pendulum", "double_well", "cylinder_wake"])
def test_every_method_learns_every_system(system):
    methods = [KoopmanAutoencoder(epochs=1, batch_size=512), KoopmanInformation(epochs=1, batch_size=512), DMD(), EDMD()]
    known = "frequency" in load(system).meta
    for method in methods:
        (metrics,) = curve(method, system, test=True)
        assert [name for name, number in metrics.items() if not math.isfinite(number)] == []
        assert {f"{split}/{name}" for split in ("val", "test") for name in ("nrmse_50", "effective_dimension")} <= set(metrics)
        assert ("spectrum/system_imag" in metrics) == known


# Spectra


def eigenvalues(metrics):
    """The recorded ones, in their order; the system's own last."""
    names = sorted({name.rpartition("_")[0] for name in metrics if name.startswith("spectrum/")})
    return np.array([complex(metrics[f"{name}_real"], metrics[f"{name}_imag"]) for name in names])


def test_the_spectrum_of_a_linear_system_is_recorded(linear_data):
    *found, system = eigenvalues(curve(DMD(rank=3), linear_data)[-1])
    expected = sorted(np.linalg.eigvals(A.numpy()), key=lambda value: (-abs(value), -value.imag))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Its rotation is a turn by this angle, and grows by hypot(0.9, 0.3).
    assert system == pytest.approx(expected[0] / math.hypot(0.9, 0.3))


@pytest.mark.parametrize("size", [3, 8, 15])
def test_the_leading_eigenvalues_are_numpys(size):
    K = normal(size, size, seed=size)
    found, every = eigenvalues(spectrum(K, {})), np.linalg.eigvals(K.numpy())
    count = min(8, size)
    assert len(found) == count
    np.testing.assert_allclose(np.abs(found), np.sort(np.abs(every))[::-1][:count])
    assert all(np.abs(every - value).min() < 1e-9 for value in found)
    # Above the real axis first, then the conjugate.
    for place, value in enumerate(found[:-1]):
        if value.imag > 0:
            assert found[place + 1] == pytest.approx(value.conjugate())


# Forecasts


@pytest.mark.parametrize("method", [DMD(rank=3), EDMD(dictionary="polynomial", rank=3, degree=1, tikhonov_weight=0.0)])
def test_linear_systems_are_forecast_exactly(method, linear_data):
    found = curve(method, linear_data, test=True)[-1]
    assert max(found["val/nrmse_5"], found["test/nrmse_5"]) < 1e-3
    assert found["val/cycle_error"] == pytest.approx(1 - math.hypot(0.9, 0.3), abs=1e-4)
    radius = 1.0 if isinstance(method, EDMD) else math.hypot(0.9, 0.3)  # the constant is an eigenfunction
    assert found["val/spectral_radius"] == pytest.approx(radius, abs=1e-4)


def test_monomials_are_scikit_learns(linear_data):
    x = linear_data.train.tensors[0].flatten(0, 1)
    lift, lower = EDMD(dictionary="polynomial", degree=3, rank=3).coordinates(x, Run(linear_data))
    V = torch.linalg.svd(x, full_matrices=False).Vh.T
    expected = PolynomialFeatures(3).fit_transform((x @ V).numpy())
    np.testing.assert_allclose(np.sort(lift(x).numpy(), axis=1), np.sort(expected, axis=1), atol=1e-4)
    torch.testing.assert_close(lower(lift(x)), x, atol=1e-5, rtol=0)


def test_splines_make_a_nonlinear_oscillator_forecastable():
    plain, extended = curve(DMD())[-1], curve(EDMD())[-1]
    assert extended["val/nrmse_20"] < 0.7 * plain["val/nrmse_20"]
    assert extended["val/cycle_error"] < 0.02


def test_a_forecast_of_the_mean_has_error_one_and_the_truth_none():
    x = linear(5, 60)
    mean = x.mean((0, 1))
    none = forecast_metrics(x, same, torch.zeros(3, 3).double(), lambda z: z + mean, {})
    # The mean that counts is that of the states that are forecast.
    truth = x[:, 5:15]
    expected = ((truth - mean).square().sum() / (truth - truth.mean((0, 1))).square().sum()).sqrt().item()
    assert none["nrmse_5"] == pytest.approx(expected)
    assert forecast_metrics(x, same, A, same, {})["nrmse_50"] < 1e-9


def test_long_forecasts_are_of_growing_powers():
    x, K = linear(5, 60), A + 0.05 * normal(3, 3, seed=7)
    powers = [x[:, 0].numpy() @ np.linalg.matrix_power(K.numpy(), step) for step in range(1, 60)]
    expected = histogram_divergence(x[:, 1:].flatten(0, 1), torch.tensor(np.concatenate(powers)))
    assert forecast_metrics(x, same, K, same, {})["kld"] == pytest.approx(expected, rel=1e-6)


def test_histograms_of_the_same_samples_do_not_diverge_and_shifted_ones_do():
    x = normal(5000, 2)
    assert histogram_divergence(x, x) == 0
    near, far = (histogram_divergence(x, normal(5000, 2, seed=1) + shift) for shift in (0.0, 1.0))
    # KL(N(0, 1) ‖ N(1, 1)) is one half.
    assert near < 0.03 < 0.4 < far < 0.6


# Refusals


def test_windows_must_hold_neighbours():
    with pytest.raises(ValidationError, match="set window_length above 6"):
        KoopmanInformation(window_length=6, neighborhood_size=3)


def test_what_does_not_fit_the_data_is_refused(linear_data):
    with pytest.raises(ConfigError, match="set architecture to mlp"):
        curve(KoopmanAutoencoder(architecture="conv"), linear_data)
    with pytest.raises(ConfigError, match="set window_length below that, not to 60"):
        curve(KoopmanAutoencoder(window_length=60), linear_data)
