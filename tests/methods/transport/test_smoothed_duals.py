"""Capped shares, the k-support norm, and plans made to fit, against bisection, closed forms and supports tried out."""

import itertools

import pytest
import torch

from regbench.methods.transport.smoothing import capped_shares, convexified_cost, repaired, smoothed_dual, squared_support_norm
from regbench.methods.transport.sparsity import conjugate_nonnegative


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares_by_bisection(v, total):
    low, high = 0.0, v.max().item() + 1
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (v - middle).clamp(0, 1).sum() > total else (low, middle)
    return (v - high).clamp(0, 1)


@pytest.mark.parametrize("total", [1, 2, 5, 8])
def test_capped_shares_are_those_of_bisection(total):
    v = torch.cat([4 * random(50, 8) - 1, (8 * random(50, 8, seed=1)).round() / 2])  # the latter with ties
    expected = torch.stack([shares_by_bisection(row, total) for row in v])
    torch.testing.assert_close(capped_shares(v, total), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_support_norm_is_the_least_sum_over_shares(k):
    t = random(40, 6) * (random(40, 6, seed=1) < 0.7)
    for row, found in zip(t, squared_support_norm(t, k).tolist(), strict=True):
        if (row > 0).sum() <= k:
            expected = row.square().sum().item()
        else:
            low, high = 0.0, row.sum().item()
            for _ in range(100):
                middle = (low + high) / 2
                low, high = (middle, high) if (row / middle).clamp(max=1).sum() > k else (low, middle)
            inside = row > 0
            expected = (row[inside] ** 2 / (row[inside] / high).clamp(max=1)).sum().item()
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", [1, 3])
def test_smoothing_lowers_the_conjugate_by_at_most_its_bound_and_its_gradient_is_the_plan(k):
    scores, mu = (2 * random(4, 7) - 0.5).requires_grad_(), torch.tensor(0.05).double()
    value, plan = smoothed_dual(scores, 0.3, k, mu)
    exact = conjugate_nonnegative(scores, 0.3, k).sum()
    assert -1e-12 <= (exact - value).item() <= mu.item() * k / 2 * 4
    (slope,) = torch.autograd.grad(value, scores)
    torch.testing.assert_close(slope, plan)


def test_repaired_plans_have_their_marginals_and_fitting_ones_stay():
    plan = random(2, 5, 3)
    a, b = random(2, 5, seed=1) + 0.1, random(2, 3, seed=2) + 0.1
    b = b / b.sum(-1, keepdim=True) * a.sum(-1, keepdim=True)
    found = repaired(plan, a, b)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), a)
    torch.testing.assert_close(found.sum(-2), b)
    torch.testing.assert_close(repaired(found, a, b), found)


def test_a_mixture_of_sparse_columns_costs_no_more_than_they_do():
    """The convex envelope lies below every chord, and is the penalty itself at columns that keep the limit."""
    cost = random(4, 1)
    sparse = [torch.zeros(4, 1).double().index_fill(0, torch.tensor(rows), 0.5) for rows in itertools.combinations(range(4), 2)]
    own = [convexified_cost(column, cost, 0.7, 2) for column in sparse]
    for column, found in zip(sparse, own, strict=True):
        assert found.item() == pytest.approx((column * cost).sum().item() + 0.35 * column.square().sum().item())
    mixture = torch.stack(sparse).mean(0)
    assert convexified_cost(mixture, cost, 0.7, 2) <= torch.stack(own).mean() + 1e-12
