import mpmath
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy

from regbench.methods.classification.comp_sum import CompSum, comp_sum_loss
from regbench.methods.classification.task import Batch

LOGITS = (2.0, 0.5, -1.0)
TAUS = (0.0, 0.5, 1.0, 1.5, 1.7, 2.0, 3.0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def loss(logits, label, tau, rho=1.0):
    return comp_sum_loss(tensor([logits]), torch.tensor([label]), tau, rho).item()


def gradient(logits, labels, tau):
    logits = logits.clone().requires_grad_()
    comp_sum_loss(logits, labels, tau).backward()
    return logits.grad


def two_logits(p):
    """Logits of two classes that give the first the probability p."""
    return [np.log(p) - np.log1p(-p), 0.0]


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return tensor(random.normal(scale=2.0, size=(9, 4))), torch.tensor(random.integers(4, size=9))


@pytest.mark.parametrize(
    ("label", "values"),
    [
        (0, (0.272917, 0.256473, 0.241311, 0.227322, 0.222031, 0.214403, 0.191419)),
        (2, (24.567226, 8.112809, 3.241311, 1.604462, 1.280823, 0.960887, 0.499235)),
    ],
)
def test_values_by_hand(label, values):
    assert [loss(LOGITS, label, tau) for tau in TAUS] == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize(
    ("tau", "slope"),
    [
        (0.0, (20.085537, 4.481689, -24.567226)),
        (1.5, (0.155367, 0.034667, -0.190034)),
        (2.0, (0.030727, 0.006856, -0.037583)),
    ],
)
def test_gradients_by_hand(tau, slope):
    torch.testing.assert_close(gradient(tensor([LOGITS]), torch.tensor([2]), tau)[0], tensor(slope), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_index_one_is_cross_entropy(batch, dtype):
    logits, labels = batch[0].to(dtype).requires_grad_(), batch[1]
    expected = cross_entropy(logits, labels)
    (slope,) = torch.autograd.grad(expected, logits)
    for tau in (1.0, torch.tensor(1.0, dtype=dtype)):
        torch.testing.assert_close(comp_sum_loss(logits, labels, tau), expected)
        torch.testing.assert_close(gradient(logits.detach(), labels, tau), slope)


def test_special_cases(batch):
    logits, labels = batch
    h, y, rows = logits.numpy(), labels.numpy(), np.arange(len(labels))
    p = softmax(h, axis=1)[rows, y]
    sum_exponential = np.exp(h - h[rows, y][:, None]).sum(1) - 1
    assert comp_sum_loss(logits, labels, 0.0).item() == pytest.approx(sum_exponential.mean())
    assert comp_sum_loss(logits, labels, 2.0).item() == pytest.approx(np.mean(1 - p))
    for q in (0.3, 0.7):
        assert comp_sum_loss(logits, labels, 1 + q).item() == pytest.approx(np.mean((1 - p**q) / q))


@pytest.mark.parametrize("tau", [0.5, 0.9995, 1.0, 1.0005, 1.5, 2.0])
@pytest.mark.parametrize("rho", [0.1, 1.0])
@pytest.mark.parametrize(
    "logits", [(-89.0, 0.0), (-18.0, 0.0), (-9.0, 0.0, 0.0), (0.0, 0.0), (40.0, 0.0, 0.0, 0.0), (100.0, -100.0)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_against_60_digits(logits, rho, tau, dtype):
    """Value and gradients at logits, τ and ρ that are tensors, τ = 1 included, where weight learning starts."""
    mpmath.mp.dps = 60
    h, t, r = (torch.tensor(value, dtype=dtype, requires_grad=True) for value in ([logits], tau, rho))
    gap, width = 1 - mpmath.mpf(t.item()), mpmath.mpf(r.item())
    odds = [mpmath.exp((other - mpmath.mpf(logits[0])) / width) for other in logits[1:]]
    u = sum(odds)
    s = mpmath.log1p(u)
    factor = mpmath.exp(gap * s)
    if factor > 1e30:
        return  # beyond single precision
    found = comp_sum_loss(h, torch.tensor([0]), t, r)
    slopes = torch.autograd.grad(found, (h, t, r))
    expected = s if gap == 0 else mpmath.expm1(gap * s) / gap
    # An exponential loses what its argument is rounded by.
    tolerance = 30 * float(1 + abs(gap * s) + abs(mpmath.log(u))) * torch.finfo(dtype).eps
    tiny = torch.finfo(dtype).tiny
    assert found.item() == pytest.approx(float(expected), rel=tolerance, abs=tiny)
    own = [float(-factor * u / (1 + u) / width), *(float(factor * one / (1 + u) / width) for one in odds)]
    assert slopes[0][0].tolist() == pytest.approx(own, rel=tolerance, abs=tiny)
    in_gap = s**2 * mpmath.hyp1f1(2, 3, gap * s) / 2
    assert slopes[1].item() == pytest.approx(-float(in_gap), rel=tolerance, abs=tiny)
    in_rho = -factor / (1 + u) * sum(one * mpmath.log(one) for one in odds) / width
    assert slopes[2].item() == pytest.approx(float(in_rho), rel=tolerance, abs=tiny)


@pytest.mark.parametrize("p", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("near", [1 - 1e-6, 1 + 1e-6])
def test_continuous_at_one(p, near):
    assert abs(loss(two_logits(p), 0, near) - loss(two_logits(p), 0, 1.0)) < 2e-5


@pytest.mark.parametrize("edge", [1 - 1e-3, 1 + 1e-3])
@pytest.mark.parametrize("p", [1e-6, 0.01, 0.9])
def test_series_meets_the_quotient(edge, p):
    values = [loss(two_logits(p), 0, edge + step) for step in (-1e-9, 1e-9)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[0] == pytest.approx((1 - p ** (edge - 1)) / (edge - 1), rel=1e-6)


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_slope_in_tau_at_one(p):
    tau = tensor(1.0).requires_grad_()
    comp_sum_loss(tensor([two_logits(p)]), torch.tensor([0]), tau).backward()
    assert tau.grad.item() == pytest.approx(-0.5 * np.log(p) ** 2)


@pytest.mark.parametrize("tau", [0.0, 0.5, 0.9999, 1.0, 1.0001, 1.5, 2.0, 3.0])
def test_differentiable(batch, tau):
    logits, labels = batch
    inputs = (logits.requires_grad_(), tensor(tau).requires_grad_(), tensor(1.3).requires_grad_())
    assert gradcheck(lambda h, t, r: comp_sum_loss(h, labels, t, r), inputs)


@pytest.mark.parametrize("tau", TAUS)
def test_only_differences_of_logits_count(batch, tau):
    logits, labels = batch
    torch.testing.assert_close(comp_sum_loss(logits + 3.7, labels, tau), comp_sum_loss(logits, labels, tau))
    torch.testing.assert_close(gradient(logits, labels, tau).sum(1), torch.zeros(len(labels)).double(), atol=1e-9, rtol=0)


def test_falls_with_tau_and_is_bounded(batch):
    for h, y in zip(batch[0].tolist(), batch[1].tolist(), strict=True):
        values = [loss(h, y, tau) for tau in np.linspace(0, 3, 61)]
        assert (np.diff(values) <= 0).all()
        assert all(0 <= loss(h, y, tau) <= 1 / (tau - 1) for tau in (1.1, 1.5, 2.0, 3.0))
    assert loss((-1000.0, 0.0), 0, 1.5) == pytest.approx(2.0)


@pytest.mark.parametrize("tau", TAUS)
def test_margin_divides_logits(tau):
    assert loss(LOGITS, 1, tau, rho=0.4) == pytest.approx(loss([h / 0.4 for h in LOGITS], 1, tau))


@pytest.mark.parametrize(
    ("tau", "values"),
    [
        (0.0, (0.020204, 0.200000)),
        (0.5, (0.019034, 0.186963)),
        (1.0, (0.020136, 0.192745)),
        (1.5, (0.028007, 0.235029)),
    ],
)
def test_calibration_of_two_classes(tau, values):
    """The excess risk of a tie, minimized numerically, is the transformation of the paper's consistency bound."""
    for beta, value in zip((0.2, 0.6), values, strict=True):
        shares = np.array([1 + beta, 1 - beta]) / 2

        def risk(gap, shares=shares):
            return shares @ [loss((gap / 2, -gap / 2), label, tau) for label in (0, 1)]

        best = minimize_scalar(risk, bounds=(-20, 20), method="bounded", options={"xatol": 1e-10}).fun
        assert risk(0.0) - best == pytest.approx(value, abs=1e-6)


def test_method_minimizes_its_loss(batch):
    logits, labels = batch
    method = CompSum(tau=1.7, rho=0.5)
    mini = Batch(logits, labels, torch.arange(9), 4, 1, 1, None, torch.Generator())
    found, out = method.objective(lambda x: 2 * x, mini, method.weight_values())
    torch.testing.assert_close(found, comp_sum_loss(2 * logits, labels, 1.7, 0.5))
    torch.testing.assert_close(out, 2 * logits)
    with pytest.raises(ValidationError, match="rho"):
        CompSum(rho=0.0)
