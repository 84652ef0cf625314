"""Cauchy-Schwarz estimates against the card's numbers, sums written out, population values and limits."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from sklearn.gaussian_process.kernels import RBF

from regbench.methods.regression.cs_ib import CauchySchwarzBottleneck
from regbench.methods.regression.kernels import (
    automatic_width,
    conditional_cs_divergence,
    cs_divergence,
    cs_qmi,
    hsic,
    log_kernel,
    normalized_cs_qmi,
)

RANDOM = np.random.default_rng(0)
X = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
Y = torch.tensor([[0.0], [1.0], [0.5]], dtype=torch.float64)
PREDICTION = torch.tensor([[0.2], [0.7], [0.9]], dtype=torch.float64)
T = torch.tensor([[0.5], [-0.5], [1.5]], dtype=torch.float64)


def random(*shape):
    return torch.tensor(RANDOM.normal(size=shape))


def qmi(x, t, width=1.0, estimate=cs_qmi):
    return estimate(log_kernel(x, x, width), log_kernel(t, t, width)).item()


def test_the_kernel_is_sklearns():
    u, v = random(5, 3), random(7, 3)
    np.testing.assert_allclose(log_kernel(u, v, 0.7).exp(), RBF(0.7)(u.numpy(), v.numpy()))


def test_two_samples():
    p, q = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[2.0], [3.0]]).double()
    assert cs_divergence(p, q, 1.0).item() == pytest.approx(2.571317, abs=1e-6)
    assert cs_divergence(p, p, 1.0).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("shift", "width"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.05)])
def test_two_normal_distributions(shift, width):
    """On quantiles instead of samples, so that the population value is met closely."""
    quantiles = torch.distributions.Normal(0, 1).icdf((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)[:, None]
    found = cs_divergence(quantiles, quantiles + shift, width).item()
    assert found == pytest.approx(shift**2 / (2 + width**2), rel=5e-3)


@pytest.mark.parametrize(("denominator", "expected"), [("paper", 0.029748), ("code", 0.026647)])
def test_the_cards_conditional_divergence(denominator, expected):
    found = conditional_cs_divergence(X, Y, PREDICTION, 1.0, 1.0, denominator).item()
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("denominator", ["paper", "code"])
def test_the_conditional_divergence_is_its_sums_written_out(denominator):
    x, y, prediction = random(6, 2), random(6, 1), random(6, 1)
    k = RBF(0.8)(x)
    w = k.sum(1) ** 2 if denominator == "paper" else (k**2).sum(1)
    terms = [
        sum(k[j, i] * RBF(0.6)(a[j : j + 1], b[i : i + 1])[0, 0] / w[j] for j in range(6) for i in range(6))
        for a, b in ((y, y), (prediction, prediction), (prediction, y))
    ]
    expected = math.log(terms[0]) + math.log(terms[1]) - 2 * math.log(terms[2])
    assert conditional_cs_divergence(x, y, prediction, 0.8, 0.6, denominator).item() == pytest.approx(expected)


@pytest.mark.parametrize("denominator", ["paper", "code"])
def test_predictions_that_are_the_targets_cost_nothing(denominator):
    y = random(20, 1)
    assert conditional_cs_divergence(random(20, 4), y, y.clone(), 1.0, 1.0, denominator).item() == pytest.approx(0, abs=1e-12)


def test_the_conditional_divergence_is_symmetric_where_all_rows_weigh_alike():
    """On a ring of inputs every row has the same neighbours; on random inputs rows differ, and so do the two directions."""
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    y, prediction = random(8, 1), random(8, 1)
    for x, symmetric in ((torch.stack([angles.cos(), angles.sin()], 1), True), (random(8, 2), False)):
        one, other = (conditional_cs_divergence(x, *pair, 0.7, 0.9).item() for pair in ((y, prediction), (prediction, y)))
        assert (one == pytest.approx(other, rel=1e-9)) is symmetric


def test_narrow_kernels_on_inputs_give_correntropy():
    x, y, prediction = random(10, 3), random(10, 1), random(10, 1)
    expected = -2 * math.log((-((prediction - y) ** 2) / (2 * 0.5**2)).exp().mean())
    assert conditional_cs_divergence(x, y, prediction, 1e-3, 0.5).item() == pytest.approx(expected)


def test_narrow_and_wide_kernels_give_the_squared_error_and_its_gradient():
    x, y, prediction = random(10, 3), random(10, 1), random(10, 1).requires_grad_()
    found = 1e6 * conditional_cs_divergence(x, y, prediction, 1e-3, 1e3)
    expected = (prediction - y).square().mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    slopes = [torch.autograd.grad(value, prediction)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("width", "expected"), [(1e4, 0.0235741), (100.0, 0.0235748)])
def test_wide_kernels_on_targets_alone(width, expected):
    assert width**2 * conditional_cs_divergence(X, Y, PREDICTION, 1.0, width).item() == pytest.approx(expected, abs=2e-7)


def test_gradients_in_predictions_and_widths():
    x, y = random(6, 2), random(6, 1)
    arguments = [value.requires_grad_() for value in (random(6, 1), torch.tensor(0.9).double(), torch.tensor(1.2).double())]
    assert torch.autograd.gradcheck(lambda p, a, b: conditional_cs_divergence(x, y, p, a, b), arguments)
    t = random(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: normalized_cs_qmi(log_kernel(x, x, 1.0), log_kernel(v, v, 1.0)), t)


def test_the_cards_mutual_information():
    assert qmi(X, T) == pytest.approx(0.133339, abs=1e-6)
    assert qmi(X, X) == pytest.approx(0.196125, abs=1e-6)
    assert qmi(X, T, estimate=normalized_cs_qmi) == pytest.approx(0.679871, abs=1e-6)
    assert qmi(X, X, estimate=normalized_cs_qmi) == pytest.approx(1)


@pytest.mark.parametrize("estimate", [cs_qmi, normalized_cs_qmi])
def test_a_constant_code_tells_nothing_and_has_a_finite_gradient(estimate):
    t = torch.ones(3, 1, dtype=torch.float64, requires_grad=True)
    found = estimate(log_kernel(X, X, 1.0), log_kernel(t, t, 1.0))
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(found, t)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mutual_information_is_its_traces_written_out(dtype):
    x, t = random(30, 4), random(30, 3)
    k, q = RBF(1.3)(x), RBF(1.3)(t)
    n = len(x)
    expected = math.log(np.trace(k @ q) / n**2) + math.log(k.sum() * q.sum() / n**4) - 2 * math.log((k @ q).sum() / n**3)
    assert expected > 0
    assert qmi(x.to(dtype), t.to(dtype), 1.3) == pytest.approx(expected, rel=1e-3 if dtype == torch.float32 else 1e-9)


def test_mutual_information_does_not_see_order_or_place():
    x, t = random(20, 2), random(20, 2)
    order = torch.randperm(20)
    assert qmi(x[order], t[order]) == pytest.approx(qmi(x, t))
    assert qmi(x, t + 1e3) == pytest.approx(qmi(x, t), rel=1e-6)


def test_far_samples_in_single_precision_are_no_infinite_loss():
    x, y = random(8, 2).float(), random(8, 1).float()
    prediction = (y + 100).requires_grad_()
    loss = conditional_cs_divergence(x, y, prediction, 1.0, 1.0)
    assert loss.isfinite()
    (slope,) = torch.autograd.grad(loss, prediction)
    assert slope.isfinite().all()
    assert slope.max() > 1


def test_the_automatic_width_is_ten_times_a_median_of_squares():
    x = random(11, 3)
    squares = np.concatenate([np.repeat(pdist(x, "sqeuclidean"), 4), np.zeros(11)])
    assert automatic_width(x).item() == pytest.approx(10 * np.median(squares))
    assert automatic_width(torch.zeros(5, 2)).item() == pytest.approx(0.1)
    assert automatic_width(random(3000, 1)).item() == pytest.approx(10 * 2 * 0.4549, rel=0.1)  # the median of a chi-square


def test_hsic_is_its_trace_written_out():
    u, v = random(12, 3), random(12, 1)
    center = np.eye(12) - 1 / 12
    k, q = (np.exp(-cdist(w, w, "sqeuclidean") / (2 * width**2)) for w, width in ((u, 2.0), (v, 0.5)))
    expected = np.trace(k @ center @ q @ center) / 11**2
    assert hsic(u, v, (2.0, 0.5)).item() == pytest.approx(expected)


@pytest.mark.parametrize("spread", [1.0, 0.01, 1e-3])
def test_mutual_information_of_codes_that_hardly_vary_keeps_its_digits_in_single_precision(spread):
    """Free of scale as the spread falls, with slopes that grow as one over it; the card's codes."""
    t = (spread * T).float().requires_grad_()
    method = CauchySchwarzBottleneck()
    found = method.compression(X.float(), t, method.weight_values())
    (slope,) = torch.autograd.grad(found, t)
    exact_t = t.detach().double().requires_grad_()
    exact = method.compression(X, exact_t, method.weight_values())
    (exact_slope,) = torch.autograd.grad(exact, exact_t)
    assert found.dtype == slope.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-4, atol=1e-4 * exact_slope.abs().max().item())
    if spread == 0.01:
        assert found.item() == pytest.approx(0.4679004, abs=1e-6)
    by_parts = normalized_cs_qmi(log_kernel(X.float(), X.float(), 1.0), log_kernel(t, t, 1.0))
    assert by_parts.item() == pytest.approx(exact.item(), rel=1e-3)


@pytest.mark.parametrize("estimate", [cs_divergence, lambda p, q, width: hsic(p, q, (width, width))])
def test_estimates_of_near_samples_in_single_precision_are_those_of_double_precision(estimate):
    p, q = (1e-3 * random(20, 2).float() + 0.5 for _ in range(2))
    assert estimate(p, q, 1.0).item() == pytest.approx(estimate(p.double(), q.double(), 1.0).item(), rel=1e-6)
