"""Adaptive bins and kernel densities against hand-made cases, scikit-learn, Monte Carlo and identities."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from regbench.methods.shared.information.adaptive import (
    adaptive_edges,
    adaptive_kde,
    adaptive_variance,
    binned_information,
    compression,
    ebab,
    fixed_edges,
    kde_information,
    layer_states,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
T = torch.tensor([[0, 0.2], [0.5, 0], [0.9, 1.5], [0, 0], [2, 0.3], [0.7, 0.2], [0, 0.2], [1.1, 0.4]], dtype=torch.float64)
Y = torch.tensor([0, 1, 1, 0, 1, 1, 0, 1])


def layer(count=200, seed=0):
    """Activities of a ReLU layer and labels that they tell something about."""
    stream = torch.Generator().manual_seed(seed)
    t = torch.randn(count, 3, generator=stream, dtype=torch.float64).clamp(min=0)
    return t, (t.sum(1) + torch.randn(count, generator=stream, dtype=torch.float64) > 1).long()


# Bins


@DTYPES
@pytest.mark.parametrize(
    ("bins", "edges", "about_x"),
    [(2, [0, 0.2, 0.7, 2], 2.5), (3, [0, 0.2, 0.5, 1.1, 2], 2.75), (4, [0, 0.2, 0.4, 0.7, 1.1, 2], None)],
)
def test_known_bins(dtype, bins, edges, about_x):
    t = T.to(dtype)
    assert adaptive_edges(t, bins).tolist() == pytest.approx(edges)
    found = ebab(t, Y, bins)
    if about_x is not None:
        assert found[0].item() == about_x
    assert found[1].item() == pytest.approx(0.954434, abs=1e-6)


def test_known_states():
    states = layer_states(T, adaptive_edges(T, 3))
    assert states.tolist() == [[0, 1], [2, 0], [2, 3], [0, 0], [4, 1], [2, 1], [0, 1], [3, 1]]
    assert binned_information(T, Y, fixed_edges(0, 2, 3))[0].item() == 1.75


def test_edges_follow_the_released_code():
    """Places are rounded down in floating point, which loses one where k M / bins is whole but not so represented."""
    for count in (130, 138, 246, 1000):
        values = np.arange(1, count + 1, dtype=float)
        expected = [0.0] + [values[int(k * (count / 30))] for k in range(30)] + [values[-1]]
        assert adaptive_edges(torch.from_numpy(values)[:, None]).tolist() == expected


def test_only_the_order_of_activities_counts():
    t, y = layer()
    expected = [value.item() for value in ebab(t, y)]
    for other in (7 * t, t**2, t.expm1()):
        assert [value.item() for value in ebab(other, y)] == expected
    order = torch.randperm(len(t), generator=torch.Generator().manual_seed(1))
    assert [value.item() for value in ebab(t[order][:, [2, 0, 1]], y[order])] == pytest.approx(expected)
    fixed = fixed_edges(0, 3, 30)
    assert binned_information(t / 7, y, fixed)[0] != binned_information(t, y, fixed)[0]


def test_low_values():
    t = layer()[0]
    assert adaptive_edges(t)[0].item() == 0.0
    # Without zeros of their own, any value below the least gives the same states, but for their numbers.
    centred = t - 0.5
    y = layer()[1]
    released = ebab(centred, y, low=-1.000001)
    assert [value.item() for value in ebab(centred, y)] == [value.item() for value in released]
    assert [value.item() for value in ebab(torch.zeros(9, 2), torch.arange(9))] == [0.0, 0.0]


def test_information_is_that_of_joint_states():
    t, y = layer()
    states = torch.unique(layer_states(t, adaptive_edges(t, 5)), dim=0, return_inverse=True)[1]
    about_x, about_y = (value.item() for value in ebab(t, y, 5))
    assert about_y == pytest.approx(mutual_info_score(y, states) / math.log(2))
    counts = np.bincount(y)
    assert 0 <= about_y <= min(about_x, -(counts / 200 * np.log2(counts / 200)).sum())
    assert about_x <= math.log2(200)
    # Inputs that are seen twice and represented alike: what is left is the information with the input's number.
    twice = ebab(t.repeat(2, 1), y.repeat(2), 5, x=torch.arange(200).repeat(2))
    assert twice[0].item() == pytest.approx(about_x)
    noisy = ebab(t, y, 5, x=torch.arange(200) // 2)[0].item()
    assert noisy == pytest.approx(mutual_info_score(torch.arange(200) // 2, states) / math.log(2))


# Kernel densities


@DTYPES
def test_known_densities(dtype):
    two = torch.tensor([[0.0], [1.0]], dtype=dtype)
    assert kde_information(two, 0.25).item() == pytest.approx(0.816882, abs=1e-6)
    assert kde_information(two, 0.25, "lower").item() == pytest.approx(0.316051, abs=1e-6)
    t = T.to(dtype)
    assert kde_information(t, 0.05).item() == pytest.approx(2.278348, abs=1e-6)
    assert kde_information(t, 0.05, "lower").item() == pytest.approx(1.669400, abs=1e-6)
    within = kde_information(t, 0.05, given=Y)
    assert (kde_information(t, 0.05) - within).item() == pytest.approx(0.914886, abs=1e-6)
    about_x = adaptive_kde(t, Y)[0]
    assert about_x.dtype == dtype
    assert about_x.item() == pytest.approx(2.540754, abs=1e-6)
    assert adaptive_kde(t, Y, 0.025)[1].item() == pytest.approx(0.914886, abs=1e-6)
    assert adaptive_variance(t).item() == pytest.approx(0.02)


def test_bounds_hold():
    """Information of two Gaussians of variance 1/4 at distance 1, by numerical integration of their mixture's entropy."""
    x = np.linspace(-6, 7, 200_001)
    density = sum(np.exp(-2 * (x - centre) ** 2) for centre in (0, 1)) / 2 * math.sqrt(2 / math.pi)
    truth = -np.trapezoid(density * np.log2(density), x) - 0.5 * math.log2(2 * math.pi * math.e * 0.25)
    assert truth == pytest.approx(0.4867, abs=1e-3)
    two = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert kde_information(two, 0.25, "lower") < truth < kde_information(two, 0.25)


def test_within_classes_it_is_the_mean_over_classes():
    t, y = layer()
    parts = [(y == label).sum() / len(y) * kde_information(t[y == label], 0.1) for label in (0, 1)]
    assert kde_information(t, 0.1, given=y).item() == pytest.approx(sum(parts).item())


def test_many_rows_are_taken_in_parts():
    t = layer(2500)[0]
    whole = -(torch.cdist(t, t).square() / 0.2).neg().logsumexp(1).sub(math.log(2500)).mean() / math.log(2)
    assert kde_information(t, 0.1).item() == pytest.approx(whole.item(), abs=1e-9)


def test_scale_and_limits():
    t = layer()[0] + 0.1 * torch.rand(200, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = kde_information(t, 0.3).item()
    assert kde_information(7 * t, 49 * 0.3).item() == pytest.approx(found)
    assert adaptive_kde(7 * t, layer()[1], power=2)[0].item() == pytest.approx(adaptive_kde(t, layer()[1], power=2)[0].item())
    assert kde_information(t, 1e-9).item() == pytest.approx(math.log2(200), abs=1e-6)
    assert kde_information(t, 1e9).item() == pytest.approx(0.0, abs=1e-6)
    assert kde_information(torch.zeros(5, 2), adaptive_variance(torch.zeros(5, 2))).item() == 0.0


def test_gradient():
    t = T[:5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: kde_information(t, 0.3), t)
    assert torch.autograd.gradcheck(lambda t: kde_information(t, 0.3, given=Y[:5]), t)


def test_compression():
    over_epochs = torch.tensor([[1.0, 4.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert compression(over_epochs).tolist() == pytest.approx([0.25, 0.0, 0.0])
