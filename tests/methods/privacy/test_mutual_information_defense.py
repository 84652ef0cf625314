"""MID: its divergence, its bottleneck, where gradients go, and that attackers see less of the training images."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy, softplus

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.privacy import networks
from regbench.methods.privacy.mutual_information_defense import Bottleneck, MutualInformationDefense, divergence
from regbench.methods.privacy.task import TRACK, Batch
from regbench.methods.privacy.undefended import Undefended
from regbench.methods.shared.data import load
from regbench.methods.shared.data.private import PrivateData

SMALL = dict(TRACK.smoke)


def raw(sigma):
    """What softplus makes σ of."""
    return torch.log(torch.expm1(torch.as_tensor(sigma, dtype=torch.float64)))


def bottleneck(seed=0, shift=5.0, dim=6):
    torch.manual_seed(seed)
    features, width = networks.features("mlp", (1, 8, 8), 10)
    return Bottleneck(features, width, dim, 10, shift).double()


def batch(count=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(count) % 10)


# The divergence


def test_the_cards_divergence():
    mean = torch.tensor([[0.5, -1.0, 0.0]], dtype=torch.float64)
    assert divergence(mean, raw([[1.0, 0.5, 2.0]])).item() == pytest.approx(1.75, abs=1e-12)


def test_the_cards_start():
    assert softplus(torch.tensor(-5.0)).item() == pytest.approx(0.006715348, abs=1e-9)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    assert divergence(zero, zero - 5).item() == pytest.approx(4.503382, abs=1e-6)
    assert divergence(zero, raw([[1.0]])).item() == pytest.approx(0, abs=1e-12)


def test_it_is_that_of_the_distributions_library_summed_over_the_code():
    generator = torch.Generator().manual_seed(0)
    mean, scale = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    scale = 3 * scale - 4
    expected = kl_divergence(Normal(mean, softplus(scale)), Normal(torch.zeros(5).double(), torch.ones(5).double())).sum(1)
    torch.testing.assert_close(divergence(mean, scale), expected)


def test_it_stays_finite_where_the_deviation_is_rounded_to_zero():
    scale = torch.tensor([[-15.0, -25.0, -80.0, -300.0]], requires_grad=True)
    found = divergence(torch.zeros(1, 4), scale)
    # log σ = raw there, and σ² is nothing.
    assert found.item() == pytest.approx(-(4 + 2 * (-15 - 25 - 80 - 300)) / 2, rel=1e-6)
    found.backward()
    torch.testing.assert_close(scale.grad, torch.full((1, 4), -1.0), atol=1e-5, rtol=0)


def test_its_gradient():
    mean, scale = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(divergence, (mean.requires_grad_(), (5 * scale - 3).requires_grad_()))


# The bottleneck


def test_without_noise_the_head_is_two_linear_layers():
    network, x = bottleneck(shift=1e4), batch().x
    mean = network.statistics(network.features(x))[:, :6]
    torch.testing.assert_close(network(x)[0], network.head(mean))


def test_the_code_has_the_mean_and_deviation_of_its_statistics():
    network, x = bottleneck(shift=0.0), batch(1).x
    network.head = torch.nn.Identity()
    torch.manual_seed(2)
    with torch.no_grad():
        codes = network(x.expand(40_000, 1, 8, 8))[0]
        mean, scale = network.statistics(network.features(x))[0].chunk(2)
    deviation = softplus(scale)
    assert ((codes.mean(0) - mean).abs() < 5 * deviation / 200).all()
    torch.testing.assert_close(codes.std(0), deviation, rtol=0.02, atol=0)


@pytest.mark.parametrize(("dim", "expected"), [(None, 64), (32, 32)])
def test_the_code_is_half_as_wide_as_the_features_unless_told(dim, expected):
    network = MutualInformationDefense(bottleneck_dim=dim).build_model(load("private_digits"))
    assert network.statistics.weight.shape == (2 * expected, 128)
    assert network.head.weight.shape == (10, expected)


# The objective


def test_the_loss_is_cross_entropy_plus_weighted_mean_divergence():
    network, rows = bottleneck(), batch()
    method = MutualInformationDefense(beta=0.3)
    torch.manual_seed(3)
    loss, facts = method.objective(network, rows, method.weight_values())
    torch.manual_seed(3)
    logits, _ = network(rows.x)
    mean, scale = network.statistics(network.features(rows.x)).chunk(2, dim=1)
    expected = kl_divergence(Normal(mean, softplus(scale - 5)), Normal(torch.zeros(6).double(), torch.ones(6).double()))
    assert facts["divergence"].item() == pytest.approx(expected.sum(1).mean().item())
    assert loss.item() == pytest.approx((cross_entropy(logits, rows.y) + 0.3 * expected.sum(1).mean()).item())


def gradients(beta):
    network, rows = bottleneck(), batch()
    method = MutualInformationDefense(beta=beta)
    torch.manual_seed(3)
    loss, _ = method.objective(network, rows, method.weight_values())
    names, parameters = zip(*network.named_parameters(), strict=True)
    return network, dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_with_weight_zero_gradients_are_those_of_cross_entropy_under_the_noise():
    network, found = gradients(0.0)
    rows = batch()
    torch.manual_seed(3)
    expected = torch.autograd.grad(cross_entropy(network(rows.x)[0], rows.y), list(network.parameters()))
    for (name, gradient), other in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(gradient, other, msg=name)


def test_every_parameter_learns_and_the_divergence_does_not_reach_the_head():
    (_, plain), (_, weighted) = gradients(0.0), gradients(1.0)
    assert all(gradient.abs().max() > 0 for gradient in weighted.values())
    assert {name for name in plain if torch.equal(plain[name], weighted[name])} == {"head.weight", "head.bias"}


# Training


def curve(method, **options):
    return list(method.train(Run("private_digits", **options)))


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "schedule": "step", "weight_decay": 1e-4}])
def test_switched_off_it_is_the_plain_network_bit_for_bit(settings):
    settings = SMALL | settings
    assert curve(MutualInformationDefense(**settings).baseline(), test=True) == curve(Undefended(**settings), test=True)


def test_a_huge_weight_leaves_chance_no_information_and_the_mean_image():
    settings = {"epochs": 40, "report_every": 40, "decoder_epochs": 40, "prior_steps": 10, "judge_epochs": 2, "attack_steps": 2}
    metrics = curve(MutualInformationDefense(**settings, beta=1e3, learning_rate=0.01))[-1]
    assert metrics["train/divergence"] < 1  # of 224 nats without a weight
    assert metrics["val/accuracy"] < 0.2
    data = load("private_digits")
    images = data.train.tensors[0][::2]
    of_mean_image = (images - data.auxiliary.tensors[0].mean(0)).square().mean().item()
    assert metrics["val/inversion_error"] == pytest.approx(of_mean_image, rel=0.05)


def test_the_divergence_falls_and_the_attackers_error_grows_with_the_weight():
    settings = {"epochs": 30, "report_every": 30, "decoder_epochs": 30, "prior_steps": 10, "judge_epochs": 2, "attack_steps": 2}
    found = [curve(MutualInformationDefense(**settings, beta=beta))[-1] for beta in (0.0, 1e-3, 1e-2, 1e-1)]
    spent = [metrics["train/divergence"] for metrics in found]
    errors = [metrics["val/inversion_error"] for metrics in found]
    assert spent == sorted(spent, reverse=True)
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0]
    # A patient attacker averages some of the noise away.
    assert all(metrics["val/averaged_inversion_error"] < metrics["val/inversion_error"] for metrics in found[2:])


def test_data_without_an_attackers_part_are_refused():
    with pytest.raises(ConfigError, match="digits has no images for an attacker: choose one of private_digits"):
        next(Undefended(**SMALL).train(Run("digits")))


@pytest.mark.parametrize("architecture", ["cnn", "vgg16_bn"])
def test_large_networks_train_and_are_attacked(architecture, monkeypatch):
    """A few images in the size of the paper's, thin networks: shapes fit, metrics are finite."""
    for width in ("CNN_WIDTH", "DECODER_WIDTH", "GAN_WIDTH"):
        monkeypatch.setattr(networks, width, 4)
    monkeypatch.setattr(networks, "VGG16", tuple(width // 16 for width in networks.VGG16))
    generator = torch.Generator().manual_seed(0)

    def rows(count):
        return torch.utils.data.TensorDataset(torch.rand(count, 3, 64, 64, generator=generator), torch.arange(count) % 4)

    data = PrivateData("faces", rows(8), rows(4), rows(4), {"classes": 4, "shape": (3, 64, 64)}, auxiliary=rows(6))
    settings = SMALL | {"prior_steps": 5, "epochs": 2, "attack_targets": 4, "queries": 2, "latent_dim": 5}
    metrics = list(MutualInformationDefense(**settings, architecture=architecture).train(Run(data, test=True)))[-1]
    assert all(math.isfinite(value) for value in metrics.values())
