"""What each bottleneck minimizes, where its gradients go, and what is left of it when it is switched off."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from regbench.methods import Run
from regbench.methods.regression.attacks import fgsm, pgd
from regbench.methods.regression.cs_ib import CauchySchwarzBottleneck
from regbench.methods.regression.hsic_bottleneck import HsicBottleneck
from regbench.methods.regression.kernels import automatic_width, conditional_cs_divergence, cs_qmi, hsic, log_kernel
from regbench.methods.regression.mean_squared_error import MeanSquaredError
from regbench.methods.regression.network import Encoding
from regbench.methods.regression.nib import NonlinearBottleneck
from regbench.methods.regression.task import TRACK, Batch
from regbench.methods.regression.vib import VariationalBottleneck
from regbench.methods.shared.data import Data

SMALL = dict(TRACK.smoke)
GENERATOR = torch.Generator().manual_seed(0)
X, MEAN, LOG_VARIANCE = (torch.randn(9, width, dtype=torch.float64, generator=GENERATOR) for width in (4, 3, 3))
Y, PREDICTION = (torch.randn(9, dtype=torch.float64, generator=GENERATOR) for _ in range(2))
ERROR = (Y - PREDICTION).square().mean()


def batch():
    return Batch(X, Y, torch.Generator().manual_seed(1))


def loss(method, **weights):
    def model(x, noise):
        return Encoding(PREDICTION, MEAN, MEAN, LOG_VARIANCE)

    values = SimpleNamespace(**vars(method.weight_values()) | weights)
    return method.objective(model, batch(), values)[0]


def network(method):
    torch.manual_seed(0)
    return method.build_model(Data("x", None, None, None, {"shape": (4,)})).double()


def curve(method, data="diabetes", **options):
    return list(method.train(Run(data, **options)))


def test_cs_ib_is_the_sum_of_its_terms():
    kernels = log_kernel(X, X, 1.5), log_kernel(MEAN, MEAN, 0.8)
    shared = {"kernel_bandwidth_x": 1.5, "kernel_bandwidth_y": 0.6, "kernel_bandwidth_t": 0.8, "normalized_qmi": False}
    found = loss(CauchySchwarzBottleneck(beta=0.3, **shared))
    expected = conditional_cs_divergence(X, Y[:, None], PREDICTION[:, None], 1.5, 0.6) + 0.3 * cs_qmi(*kernels)
    torch.testing.assert_close(found, expected)
    found = loss(CauchySchwarzBottleneck(beta=0.3, prediction_loss="mse", **shared))
    torch.testing.assert_close(found, ERROR + 0.3 * cs_qmi(*kernels))


def test_automatic_widths_belong_to_the_compression():
    method = CauchySchwarzBottleneck(beta=1.0, prediction_loss="mse", normalized_qmi=False, qmi_widths="automatic")
    kernels = (log_kernel(v, v, automatic_width(v)) for v in (X, MEAN))
    torch.testing.assert_close(loss(method), ERROR + cs_qmi(*kernels))


def test_vib_is_the_divergence_from_a_standard_normal():
    code = Normal(MEAN, (LOG_VARIANCE / 2).exp())
    divergence = kl_divergence(code, Normal(torch.zeros_like(MEAN), 1.0)).sum(1).mean()
    torch.testing.assert_close(loss(VariationalBottleneck(beta=0.2)), ERROR + 0.2 * divergence)


@pytest.mark.parametrize(
    ("transform", "h"), [("identity", lambda i: i), ("square", lambda i: i * i), ("exponential", torch.exp)]
)
def test_nib_bounds_the_information_by_a_mixture_of_its_codes(transform, h):
    """-log of the mean over j of exp(-KL(N(m_i, I) ‖ N(m_j, I)))."""
    divergences = kl_divergence(Normal(MEAN[:, None], 1.0), Normal(MEAN[None], 1.0)).sum(2)
    bound = -(-divergences).exp().mean(1).log().mean()
    torch.testing.assert_close(loss(NonlinearBottleneck(beta=0.2, transform=transform)), ERROR + 0.2 * h(bound))
    assert 0 < bound < math.log(9)


def test_hsic_bottleneck_is_the_sum_of_its_terms():
    widths = 5 * math.sqrt(128)
    expected = ERROR + 0.2 * hsic(X, MEAN, (10.0, widths)) - 0.7 * hsic(Y[:, None], MEAN, (5.0, widths))
    torch.testing.assert_close(loss(HsicBottleneck(lambda_x=0.2, lambda_y=0.7)), expected)


# Gradients


METHODS = [
    MeanSquaredError(bottleneck_dim=3, width=5),
    CauchySchwarzBottleneck(bottleneck_dim=3, width=5),
    CauchySchwarzBottleneck(bottleneck_dim=3, width=5, stochastic=True),
    VariationalBottleneck(bottleneck_dim=3, width=5),
    NonlinearBottleneck(bottleneck_dim=3, width=5),
    HsicBottleneck(bottleneck_dim=3, width=5),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.slug)
def test_every_parameter_learns(method):
    model = network(method)
    method.objective(model, batch(), method.weight_values())[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: method.slug)
def test_the_bottleneck_alone_teaches_the_encoder_alone(method):
    """The gradient of what the weights add reaches no parameter of the decoder."""
    model = network(method)
    names = [name for name in method.weights() if not name.startswith("kernel")]
    weights = SimpleNamespace(**vars(method.weight_values()) | {name: torch.ones((), requires_grad=True) for name in names})
    loss = method.objective(model, batch(), weights)[0]
    added = torch.autograd.grad(loss, [getattr(weights, name) for name in names], create_graph=True)
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(sum(added), list(parameters.values()), allow_unused=True)
    for name, gradient in zip(parameters, found, strict=True):
        if name.startswith("decoder"):
            assert gradient is None or not gradient.any()
        elif name != "mean.bias" or isinstance(method, VariationalBottleneck):
            assert gradient is not None, name
            assert gradient.abs().max() > 0, name


# Noise


def test_noise_is_drawn_from_its_stream_and_scaled():
    method = CauchySchwarzBottleneck(bottleneck_dim=3, stochastic=True)
    model = network(method)
    found = method.objective(model, batch(), method.weight_values())[1]
    noise = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((found.t - found.mean) / noise, (found.log_variance / 2).exp())
    found = NonlinearBottleneck(bottleneck_dim=3).objective(
        network(MeanSquaredError(bottleneck_dim=3)), batch(), SimpleNamespace(beta=0.0)
    )[1]
    torch.testing.assert_close(found.t - found.mean, noise)


def test_predictions_have_no_noise():
    model = network(VariationalBottleneck())
    assert torch.equal(model(X).prediction, model(X).prediction)
    assert torch.equal(model(X).t, model(X).mean)


# Off


def test_off_is_plain_regression_whatever_the_options():
    method = CauchySchwarzBottleneck(denominator="code", stochastic=True, qmi_widths="automatic", **SMALL)
    assert curve(method.baseline()) == curve(MeanSquaredError(**SMALL))


def test_without_compression_only_the_conditional_divergence_is_left():
    """A weight of 0 as a tensor computes the compression, and changes nothing."""

    class Learned(CauchySchwarzBottleneck):
        def weight_values(self):
            return SimpleNamespace(**vars(super().weight_values()) | {"beta": torch.zeros(())})

    method = CauchySchwarzBottleneck(beta=0.0, **SMALL)
    assert curve(Learned(**method.model_dump())) == curve(method)
    assert curve(method) != curve(MeanSquaredError(**SMALL))


# What is claimed, and what evaluation says


def test_more_weight_compresses_more():
    found = [curve(CauchySchwarzBottleneck(beta=beta, bottleneck_dim=16, epochs=15))[-1]["val/qmi"] for beta in (0.0, 0.1, 1.0)]
    assert found[0] > found[1] > found[2]


def test_the_schedule_falls_every_ten_epochs():
    rates = []

    class Watched(MeanSquaredError):
        def train_epoch(self, model, optimizer, split, epoch, run):
            metrics = super().train_epoch(model, optimizer, split, epoch, run)
            rates.append(optimizer.param_groups[0]["lr"])
            return metrics

    curve(Watched(epochs=21, schedule="step", learning_rate=1.0e-3, width=4, bottleneck_dim=2, attack_radius=0.0))
    assert rates == pytest.approx([1e-3] * 10 + [6e-4] * 10 + [3.6e-4])


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_attacks_of_a_line_are_its_worst_case(attack):
    """For ŷ = wᵀx the largest squared error in the box is at x + ε sign(w) sign(ŷ - y)."""
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    moved = attack(lambda x: x @ w, X, Y, 0.3)
    radius = 0.3 if attack is fgsm else 0.25  # five steps of a sixth
    torch.testing.assert_close(moved, X + radius * w.sign() * (X @ w - Y).sign()[:, None])


def test_attacks_raise_the_error_and_are_left_out_at_radius_zero():
    found = curve(MeanSquaredError(**SMALL))[-1]
    assert found["val/fgsm_rmse"] > found["val/rmse"]
    assert found["val/pgd_rmse"] > found["val/rmse"]
    assert "val/fgsm_rmse" not in curve(MeanSquaredError(attack_radius=0.0, **SMALL))[-1]
