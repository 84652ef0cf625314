"""Compositional optimization and its competitors: the card's figures, gradients by hand, special cases."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from regbench.methods.density.compositional_unnormalized import CompositionalUnnormalized
from regbench.methods.density.exponential_nce import ExponentialNCE
from regbench.methods.density.importance_likelihood import ImportanceLikelihood
from regbench.methods.density.noise_contrastive import NoiseContrastive
from regbench.methods.density.task import Batch

TWO_PI = math.log(2 * math.pi)
MEAN = {"energy": "gaussian_mean"}


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(value):
    return value


def log_normal(x, mean=0.0, scale=1.0):
    return (-0.5 * ((x - mean) / scale).square() - math.log(scale) - 0.5 * TWO_PI).sum(1)


def batch(x, noise, scale=1.0, mean=0.0, log_u=None, step=2):
    return Batch(x, log_normal(x, mean, scale), noise, log_normal(noise, mean, scale), len(noise) // len(x), step, log_u, same)


def model(method, theta=None, size=1):
    torch.manual_seed(0)
    built = method.build_model(SimpleNamespace(name="data", meta={"shape": (size,), "mean": 0.0})).double()
    if theta is not None:
        getattr(built, "model", built).theta.data.fill_(theta)
    return built


def gradients(method, built, given, **weights):
    built.zero_grad()
    loss, log_u = method.objective(built, given, SimpleNamespace(**vars(method.weight_values()) | weights))
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in built.named_parameters()}, log_u


# The card's Gaussian example


def test_the_exact_negative_log_likelihood_and_its_gradient():
    x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    built = model(ImportanceLikelihood(**MEAN), 0.5)
    exact = built.log_normalizer() - built(x, torch.zeros(3)).mean()
    assert exact.item() == pytest.approx(1.377272, abs=1e-6)
    assert torch.autograd.grad(exact, built.theta)[0].item() == pytest.approx(-0.5)


@pytest.mark.parametrize(("theta", "variance"), [(1.0, 1.718282), (2.0, 53.598)])
def test_weights_have_mean_z_and_the_cards_variance(theta, variance):
    built = model(ImportanceLikelihood(**MEAN), theta)

    def w(x):
        x = torch.tensor([[x]], dtype=torch.float64)
        return (built(x, torch.zeros(1)) - log_normal(x)).exp().item()

    mean = quad(lambda x: w(x) * norm.pdf(x), -15, 15)[0]
    assert mean == pytest.approx(built.log_normalizer().exp().item())
    assert mean == pytest.approx(math.sqrt(2 * math.pi) * math.exp(theta**2 / 2))
    square = quad(lambda x: w(x) ** 2 * norm.pdf(x), -20, 20)[0]
    assert square / mean**2 - 1 == pytest.approx(variance, rel=1e-5)


# Gradients


def test_the_surrogates_gradient_is_the_bracket_by_hand():
    method = CompositionalUnnormalized(energy="mlp", hidden_dim=5)
    built = model(method, size=2)
    torch.nn.init.normal_(built.f[-1].weight)
    x, noise = normal(6, 2), normal(8, 2, seed=1)
    given = batch(x, noise, log_u=torch.tensor(0.7, dtype=torch.float64))
    found, log_u = gradients(method, built, given, inner_moving_average_rate=0.3)
    parameters = list(built.parameters())

    def slope(point, log_q):
        h = built(point[None], log_q[None])
        return h.item(), torch.autograd.grad(h.sum(), parameters)

    data = [slope(*pair)[1] for pair in zip(x, given.log_noise_x, strict=True)]
    fake = [slope(*pair) for pair in zip(noise, given.log_noise, strict=True)]
    w = [math.exp(h - log_q.item()) for (h, _), log_q in zip(fake, given.log_noise, strict=True)]
    u = 0.7 * math.exp(0.7) + 0.3 * sum(w) / 8
    assert log_u.item() == pytest.approx(math.log(u))
    assert not log_u.requires_grad
    for number, name in enumerate(found):
        pull = sum(gradient[number] for gradient in data) / 6
        push = sum(weight * gradient[number] for weight, (_, gradient) in zip(w, fake, strict=True)) / 8 / u
        torch.testing.assert_close(found[name], push - pull, atol=1e-10, rtol=1e-10)


def test_switched_off_it_descends_the_logarithm_of_the_batch_mean():
    method = CompositionalUnnormalized(**MEAN).baseline()
    built, x, noise = model(method, 0.4, size=3), normal(6, 3), normal(12, 3, seed=1)
    given = batch(x, noise, log_u=torch.tensor(5.0, dtype=torch.float64))
    found, _ = gradients(method, built, given)
    log_w = built(noise, given.log_noise) - given.log_noise
    loss = -built(x, given.log_noise_x).mean() + log_w.exp().mean().log()
    torch.testing.assert_close(found["theta"], torch.autograd.grad(loss, built.theta)[0])
    assert torch.equal(found["theta"], gradients(ImportanceLikelihood(**MEAN), built, given)[0]["theta"])


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_a_constant_in_h_changes_no_gradient_if_u_is_scaled_alike(rate):
    method = CompositionalUnnormalized(**MEAN)
    built, x, noise = model(method, 0.4), normal(6, 1), normal(6, 1, seed=1)
    plain = batch(x, noise, log_u=torch.tensor(1.0, dtype=torch.float64))
    first, u = gradients(method, built, plain, inner_moving_average_rate=rate)

    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = built

        def forward(self, x, log_noise):
            return self.inner(x, log_noise) + 2.5

    shifted = replace(plain, log_u=plain.log_u + 2.5)
    second, moved = gradients(method, Shifted(), shifted, inner_moving_average_rate=rate)
    torch.testing.assert_close(second["inner.theta"], first["theta"])
    assert moved.item() == pytest.approx(u.item() + 2.5)


def test_noise_of_the_model_itself_gives_the_contrastive_gradient():
    method = CompositionalUnnormalized(**MEAN)
    built, x, noise = model(method, 0.8), normal(6, 1), normal(10, 1, seed=1) + 0.8
    given = batch(x, noise, mean=0.8, log_u=built.log_normalizer().detach())
    found, log_u = gradients(method, built, given)
    assert log_u.item() == pytest.approx(built.log_normalizer().item())
    assert found["theta"].item() == pytest.approx((noise.mean() - x.mean()).item())


def test_weights_that_overflow_single_precision_are_averaged_as_logarithms():
    method = CompositionalUnnormalized(**MEAN)
    built = model(method, 40.0).float()
    found, log_u = gradients(method, built, batch(normal(4, 1).float(), normal(4, 1).float() + 30, log_u=torch.tensor(900.0)))
    assert log_u.isfinite()
    assert log_u > 100
    assert found["theta"].isfinite().all()


def test_at_the_true_mean_the_bias_halves_when_the_noise_doubles():
    """The gradient's mean over many batches at γ = 1, θ = θ* = 1; its leading term by quadrature of -cov(w, w ∇h) / B Z²."""
    method, theta, repeats = ImportanceLikelihood(**MEAN), 1.0, 60_000
    bias = {}
    for count in (32, 64):
        noise = normal(repeats, count, seed=count)
        w = (theta * noise - noise.square() / 2 - (-noise.square() / 2 - TWO_PI / 2)).exp()
        # Data contribute their exact mean; the surrogate's gradient is -x̄ + mean(w x̃) / mean(w).
        bias[count] = ((w * noise).mean(1) / w.mean(1)).mean().item() - theta
    built = model(method, theta)
    given = batch(torch.full((32, 1), theta).double(), normal(32, 1, seed=9))
    w = (built(given.noise, given.log_noise) - given.log_noise).exp().detach()
    hand = (w * given.noise[:, 0]).mean() / w.mean() - theta
    assert gradients(method, built, given)[0]["theta"].item() == pytest.approx(hand.item())
    mean_w2x = quad(lambda x: math.exp(2 * theta * x) * x * norm.pdf(x), -20, 20)[0]
    mean_w2 = quad(lambda x: math.exp(2 * theta * x) * norm.pdf(x), -20, 20)[0]
    leading = -(mean_w2x - theta * mean_w2) / math.exp(theta**2)
    assert bias[64] * 64 == pytest.approx(leading, rel=0.15)
    assert bias[32] / bias[64] == pytest.approx(2, abs=0.35)


# Averages


def test_the_first_normalizer_is_the_batchs_and_the_rate_warms_up():
    method = CompositionalUnnormalized(**MEAN, inner_moving_average_rate=0.1, inner_warmup_steps=10)
    assert [method.inner_rate(step, 0.1) for step in (1, 6, 11, 100)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    built, given = model(method, 0.3), batch(normal(4, 1), normal(4, 1, seed=1), step=1)
    w = (built(given.noise, given.log_noise) - given.log_noise).exp()
    assert gradients(method, built, given)[1].item() == pytest.approx(w.mean().log().item())


def test_gradients_are_averaged_from_the_first_on():
    method = CompositionalUnnormalized(gradient_moving_average_rate=0.25)
    layer, memory = torch.nn.Linear(1, 1), {}
    found = []
    for value in (4.0, 8.0, 0.0):
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, value)
        method.turn(layer, memory, method.weight_values())
        found.append(layer.weight.grad.item())
    assert found == pytest.approx([4.0, 5.0, 3.75])


def test_the_decay_is_half_the_squared_norm():
    method = CompositionalUnnormalized(**MEAN)
    built, given = model(method, 0.5, size=2), batch(normal(4, 2), normal(4, 2, seed=1))
    loss = [
        method.objective(built, given, SimpleNamespace(**vars(method.weight_values()) | {"energy_weight_decay": decay}))[0]
        for decay in (0.0, 0.2)
    ]
    assert (loss[1] - loss[0]).item() == pytest.approx(0.2 * 0.5 * 2 * 0.25)


# Noise contrast


@pytest.mark.parametrize("ratio", [1, 4])
@pytest.mark.parametrize("contrast", [NoiseContrastive, ExponentialNCE])
def test_contrasts_are_stationary_at_the_true_mean_and_normalizer(contrast, ratio):
    """On quadrature nodes of data N(1, 1) and noise N(0, 4), weighted by repeating nodes at their quantiles."""
    method = contrast(**MEAN)
    quantiles = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    nodes = torch.special.ndtri(quantiles)[:, None]
    built = model(method, 1.0)
    built.constant.data.fill_(0.5 * TWO_PI + 0.5)
    given = replace(batch(nodes + 1, 2 * nodes, scale=2.0), ratio=ratio)
    found, _ = gradients(method, built, given)
    assert found["theta"].abs().item() < 2e-3
    assert found["constant"].abs().item() < 2e-3
    loss = method.objective(built, given, method.weight_values())[0].item()
    if contrast is NoiseContrastive and ratio == 1:
        assert loss < math.log(2)
    if contrast is ExponentialNCE and ratio == 1:
        # The Bhattacharyya coefficient of N(1, 1) and N(0, 4).
        assert loss == pytest.approx(math.sqrt(2 * 2 / 5) * math.exp(-1 / 20), abs=1e-3)


def test_noise_contrast_is_the_cross_entropy_of_a_classifier():
    method = NoiseContrastive(**MEAN)
    built, x, noise = model(method, 0.4), normal(6, 1), normal(12, 1, seed=1)
    built.constant.data.fill_(0.9)
    given = batch(x, noise)
    both, log_q = torch.cat([x, noise]), torch.cat([given.log_noise_x, given.log_noise])
    p = (0.4 * both[:, 0] - both[:, 0].square() / 2 - 0.9).exp()
    posterior = p / (p + 2 * log_q.exp())
    expected = -(posterior[:6].log().sum() + (1 - posterior[6:]).log().sum()) / 18
    assert method.objective(built, given, method.weight_values())[0].item() == pytest.approx(expected.item())


def test_the_known_normalizer_is_no_parameter():
    method = NoiseContrastive(**MEAN, normalizer="known")
    built, x = model(method, 0.7), normal(5, 1)
    torch.testing.assert_close(built(x, torch.zeros(5)), log_normal(x, 0.7))
    assert [name for name, _ in built.named_parameters()] == ["model.theta"]


@pytest.mark.parametrize("method", [ImportanceLikelihood, CompositionalUnnormalized, NoiseContrastive, ExponentialNCE])
def test_gradients_reach_every_parameter(method):
    built = model(method(hidden_dim=4), size=2)
    torch.nn.init.normal_(built.f[-1].weight)
    found, _ = gradients(method(hidden_dim=4), built, batch(normal(6, 2) + 1, normal(6, 2, seed=1)))
    assert {name for name, gradient in found.items() if not gradient.any()} == set()


def test_normalized_steps_have_length_one():
    method, layer = ExponentialNCE(), torch.nn.Linear(3, 2)
    layer(normal(4, 3).float()).square().sum().backward()
    before = [parameter.grad.clone() for parameter in layer.parameters()]
    method.turn(layer, {}, method.weight_values())
    after = [parameter.grad for parameter in layer.parameters()]
    assert torch.cat([g.flatten() for g in after]).norm().item() == pytest.approx(1, abs=1e-6)
    scale = torch.cat([g.flatten() for g in before]).norm()
    torch.testing.assert_close(after[0] * scale, before[0])
