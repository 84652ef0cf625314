"""Distance covariances against dcor and closed forms, by every route, and what must not change them."""

import importlib
import math
from types import ModuleType

import numba
import numpy as np
import pytest
import torch

from regbench.methods.fairness import distance_covariance as dc
from regbench.methods.fairness.sorted_covariance import slopes, sorted_covariance

X = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.65], dtype=torch.float64)
S = torch.tensor([[0.0, 0.2], [0.0, 0.9], [1.0, 0.4], [1.0, 0.6], [1.0, 0.1]], dtype=torch.float64)[:, :, None]


@pytest.fixture(scope="module")
def dcor() -> ModuleType:
    """The reference, as plain Python: it would compile itself on import, for longer than all that is asked of it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        # Of its functions for many pairs at once, which nothing here asks for, Numba compiles all the same.
        patch.setattr(numba, "guvectorize", lambda *_, **__: lambda function: function)
        module = importlib.import_module("dcor")
    # Numba's threads, which that may start, are PyTorch's too.
    torch.set_num_threads(1)
    return module


def sample(n, d=2, p=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    s = torch.rand(n, d, p, dtype=torch.float64, generator=generator)
    return s[:, 0, 0] + torch.randn(n, dtype=torch.float64, generator=generator), s


def xor(n):
    """Two fair bits and whether they are equal, each combination equally often."""
    a, b = torch.arange(n) % 2, torch.arange(n) // 2 % 2
    return (a == b).double(), torch.stack([a, b], 1).double()[:, :, None]


def test_the_cards_example():
    assert dc.marginal(X, S[:, :1], (1,)).item() == pytest.approx(0.026667, abs=1e-6)
    assert dc.marginal(X, S[:, 1:], (1,)).item() == pytest.approx(-0.013333, abs=1e-6)
    assert dc.covariance(S[:, 0], S[:, 1]).item() == pytest.approx(-0.053333, abs=1e-6)
    assert dc.ccdcov(X, S).item() == pytest.approx(0.004534, abs=1e-6)
    assert dc.jdcov(X, S).item() == pytest.approx(-0.042667, abs=1e-6)


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_jdcov_is_all_pairs_and_the_triple(c, dcor):
    """The triple term as the card gives it, the pairs from dcor."""
    pairs = [(X, S[:, 0]), (X, S[:, 1]), (S[:, 0], S[:, 1])]
    expected = c * sum(dcor.u_distance_covariance_sqr(v.numpy(), w.numpy()) for v, w in pairs) - 0.0026667
    assert dc.jdcov(X, S, c).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [4, 5, 60, 700])
def test_ccdcov_is_dcors(n, dtype, dcor):
    x, s = sample(n)
    expected = dcor.u_distance_covariance_sqr(x.numpy(), s.flatten(1).numpy())
    found = dc.ccdcov(x.to(dtype), s.to(dtype))
    assert found.dtype == dtype
    assert found.item() == pytest.approx(expected, abs=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("kind", ["sum", "ccdcov", "jdcov"])
def test_nearly_constant_predictions_keep_their_digits_in_single_precision(kind):
    """An estimate is a small part of the sums that it is the difference of, whose rounding would exceed it."""
    x, s = sample(200)
    x = (0.5 + 1e-3 * (x - x.mean())).float().requires_grad_()
    found = dc.estimate(kind, x, s.float(), (3, 3))
    (slope,) = torch.autograd.grad(found, x)
    exact_x = x.detach().double().requires_grad_()
    exact = dc.estimate(kind, exact_x, s.float().double(), (3, 3))
    (exact_slope,) = torch.autograd.grad(exact, exact_x)
    assert found.dtype == slope.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-5, atol=1e-5 * exact_slope.abs().max().item())


def test_correlation_is_dcors(dcor):
    x, s = sample(80)
    assert dc.correlation(x, s).item() == pytest.approx(dcor.u_distance_correlation_sqr(x.numpy(), s.flatten(1).numpy()))
    assert dc.correlation(torch.ones(80, dtype=torch.float64), s).item() == 0


def test_jdcov_of_two_variables_is_their_covariance():
    x, s = sample(50, d=1)
    assert dc.jdcov(x, s).item() == pytest.approx(dc.ccdcov(x, s).item(), abs=1e-14)


def test_centered_rows_sum_to_zero(dcor):
    s = sample(30, d=1)[1][:, 0]
    u = dc.centered(s, dc.row_sums(s))
    torch.testing.assert_close(u.sum(-1), torch.zeros(30, dtype=torch.float64), atol=1e-12, rtol=0)
    np.testing.assert_allclose(-u, dcor.u_centered(np.linalg.norm(s[:, None] - s.numpy(), axis=2)), atol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 40])
@pytest.mark.parametrize("function", [dc.ccdcov, lambda x, s, block: dc.jdcov(x, s, 1.0, block)])
def test_blocks_give_the_whole_and_its_gradient(function, block):
    x, s = sample(40)
    values, gradients = [], []
    for size in (block, 40):
        moving = x.clone().requires_grad_()
        values.append(function(moving, s, block=size))
        gradients.append(torch.autograd.grad(values[-1], moving)[0])
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_gerrymandering_is_seen_jointly_only():
    """Exclusive or: population values, and samples of 1000."""
    x, s = xor(1000)
    assert dc.marginal(x, s, (1, 1)).item() == pytest.approx(0, abs=1e-3)
    assert dc.ccdcov(x, s).item() == pytest.approx((2 - math.sqrt(2)) / 8, abs=2e-3)
    assert dc.jdcov(x, s).item() == pytest.approx(1 / 8, abs=2e-3)


def test_scale_translation_and_rotation():
    x, s = sample(60, d=2, p=1)
    plain = dc.ccdcov(x, s)
    torch.testing.assert_close(dc.ccdcov(-3 * x, s), 3 * plain)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    moved = (s.flatten(1) @ turn + torch.tensor([5.0, -2.0]))[:, :, None]
    torch.testing.assert_close(dc.ccdcov(x, moved), plain)
    assert abs(dc.jdcov(3 * x, s) / dc.jdcov(x, s) - 3) > 0.01


def test_padding_columns_change_nothing():
    x, s = sample(30, d=2, p=1)
    padded = torch.nn.functional.pad(s, (0, 4))
    torch.testing.assert_close(dc.jdcov(x, padded), dc.jdcov(x, s))
    torch.testing.assert_close(dc.ccdcov(x, padded), dc.ccdcov(x, s))


@pytest.mark.parametrize("kind", ["sum", "ccdcov", "jdcov"])
def test_estimates_are_unbiased(kind):
    """Over permutations that break what dependence there is, attributes among themselves included, the mean is 0."""
    x, s = sample(20, d=2, p=1)
    generator = torch.Generator().manual_seed(3)
    order = torch.rand(2000, 2, 20, generator=generator).argsort(2)
    found = torch.stack([dc.estimate(kind, x, torch.stack([s[a, 0], s[b, 1]], 1), (1, 1)) for a, b in order])
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(len(order))


@pytest.mark.parametrize("kind", ["sum", "ccdcov", "jdcov"])
def test_constant_predictions_cost_nothing_and_have_a_finite_gradient(kind):
    _, s = sample(20, d=2, p=1)
    x = torch.full((20,), 0.3, dtype=torch.float64, requires_grad=True)
    found = dc.estimate(kind, x, s, (1, 1))
    constant = dc.covariance(s[:, 0], s[:, 1]).item() if kind == "jdcov" else 0
    assert found.item() == pytest.approx(constant, abs=1e-15)
    assert torch.autograd.grad(found, x)[0].isfinite().all()


@pytest.mark.parametrize("kind", ["sum", "ccdcov", "jdcov"])
def test_gradients_are_those_of_finite_differences(kind):
    x, s = sample(12)
    assert torch.autograd.gradcheck(lambda moving: dc.estimate(kind, moving, s, (3, 3), 0.7), x.requires_grad_())


# Sorting


def scalars(n, ties, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dtype=torch.float64, generator=generator)
    x = x.mul(2).round() if ties else x
    bits = (torch.rand(n, generator=generator) < 0.3).double()
    return x, torch.stack([bits, x + torch.randn(n, dtype=torch.float64, generator=generator), bits.mul(0)])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [4, 63, 64, 65, 130, 1500])
def test_sorting_gives_what_pairs_give_and_dcor(n, ties, dcor):
    x, y = scalars(n, ties)
    x.requires_grad_()
    found, expected = sorted_covariance(x, y), dc.covariance(x[:, None], y[:, :, None])
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(values.sum(), x)[0] for values in (found, expected)]
    torch.testing.assert_close(*gradients)
    # What other devices compute.
    torch.testing.assert_close(slopes(x.detach(), y) @ x.detach(), expected.detach())
    torch.testing.assert_close(slopes(x.detach(), y).sum(0), gradients[1])
    reference = [dcor.u_distance_covariance_sqr(x.detach().numpy(), row.numpy(), method="mergesort") for row in y[:2]]
    np.testing.assert_allclose(found[:2].detach(), reference, atol=1e-12)


def test_among_many_samples_attributes_of_mixed_type_take_both_routes(dcor):
    x, s = sample(dc.SORTED_FROM["cpu"], d=3, p=2)
    s[:, 1, 1] = 0
    expected = sum(dcor.u_distance_covariance_sqr(x.numpy(), s[:, k].numpy()) for k in range(3))
    assert dc.marginal(x, s, (2, 1, 2)).item() == pytest.approx(expected, abs=1e-12)


def test_sorting_predictions_that_are_equal_or_have_diverged():
    """A constant prediction of many rows costs no more than another; one that is not a number gives none, and ends."""
    y = torch.randn(1, 50_000, dtype=torch.float64)
    x = torch.full((50_000,), 0.3, requires_grad=True)
    found = sorted_covariance(x, y)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(found.sum(), x)[0].abs().max() < 1e-12
    assert sorted_covariance(torch.full((300,), torch.nan), y[:, :300]).isnan().all()
