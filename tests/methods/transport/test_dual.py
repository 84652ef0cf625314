import itertools
from functools import partial

import numpy as np
import ot
import pytest
import torch
from ot.smooth import SparsityConstrained, dual_obj_grad, semi_dual_obj_grad, smooth_ot_dual, smooth_ot_semi_dual
from torch import Tensor

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import load
from regbench.methods.transport.dual import (
    Dual,
    SemiDual,
    ascend,
    duality_gap,
    maximize,
    maximize_adam,
    maximize_lbfgs,
    transport_value,
)
from regbench.methods.transport.linear_program import solve_exactly
from regbench.methods.transport.sinkhorn import Sinkhorn
from regbench.methods.transport.sparse_transport import SparseTransport


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


THREE = (tensor([[0.1, 0.7, 0.5], [0.6, 0.2, 0.9], [0.8, 0.4, 0.3]]), tensor([0.5, 0.3, 0.2]), tensor([0.25, 0.25, 0.5]))
FOUR = (tensor([[0.1, 0.9], [0.2, 0.7], [0.8, 0.3], [0.6, 0.5]]), torch.full((4,), 0.25).double(), tensor([0.5, 0.5]))


def problem(seed: int = 0, m: int = 12, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cost, a, b = (torch.rand(shape, dtype=torch.float64, generator=generator) for shape in [(m, n), (m,), (n,)])
    return cost / cost.max(), (a + 0.2) / (a + 0.2).sum(), (b + 0.2) / (b + 0.2).sum()


def solved(kind, cost, a, b, gamma, k) -> tuple[float, Tensor]:
    objective = kind(cost, a, b, gamma, k)
    potentials, _ = maximize_lbfgs(objective)
    return objective.value(potentials).item(), objective.plan(potentials)


def best_sparse_plan(cost: Tensor, a: Tensor, b: Tensor, gamma: float, k: int) -> float:
    """The least primal value over all supports that leave k rows in each column, by quadratic transport restricted to each.

    Entries outside of the support cost so much that they stay empty.
    """
    m, n = cost.shape
    choices = list(itertools.combinations(range(m), k))
    best = np.inf
    for supports in itertools.product(choices, repeat=n):
        blocked = torch.full_like(cost, 50.0)
        for column, rows in enumerate(supports):
            blocked[list(rows), column] = cost[list(rows), column]
        _, plan = solved(SemiDual, blocked, a, b, gamma, None)
        if (plan.sum(1) - a).abs().sum() < 1e-5 and (plan[blocked > 10] == 0).all():
            best = min(best, ((plan * cost).sum() + gamma / 2 * plan.square().sum()).item())
    return best


def test_linear_program_by_hand():
    for instance, value in [(THREE, 0.305), (FOUR, 0.275)]:
        plan, _ = solve_exactly(*instance)
        assert (plan * instance[0]).sum().item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_linear_program_equals_network_simplex(seed):
    cost, a, b = problem(seed)
    plan, iterations = solve_exactly(cost, a, b)
    assert (plan * cost).sum().item() == pytest.approx(ot.emd2(a.numpy(), b.numpy(), cost.numpy()), abs=1e-9)
    torch.testing.assert_close(plan.sum(1), a)
    torch.testing.assert_close(plan.sum(0), b)
    assert (plan > 0).sum() <= 12 + 5 - 1
    assert iterations > 0


def test_linear_program_refuses_unequal_masses():
    cost, a, b = problem()
    with pytest.raises(RuntimeError, match="no solution"):
        solve_exactly(cost, 2 * a, b)


@pytest.mark.parametrize("kind", [SemiDual, Dual])
@pytest.mark.parametrize(
    ("instance", "gamma", "k", "value", "tolerance"),
    [
        (THREE, 0.1, 1, 0.32375, 2e-4),
        (THREE, 0.1, 2, 0.3175, 2e-4),
        (THREE, 0.1, 3, 0.3165, 1e-6),
        (THREE, 1.0, 1, 0.4925, 2e-4),
        (THREE, 1.0, 2, 0.4271875, 2e-4),
        (THREE, 1.0, 3, 0.42, 1e-6),
        (FOUR, 1.0, 1, 0.525, 2e-4),
        (FOUR, 0.05, 1, 0.2875, 2e-4),
        (FOUR, 1.0, 2, 0.4, 1e-6),
        (FOUR, 0.05, 2, 0.28125, 1e-6),
    ],
)
def test_optimal_values_by_hand(kind, instance, gamma, k, value, tolerance):
    # Where few nonzeros make the objective barely smooth, L-BFGS may stop a little early, but never above the optimum.
    found, _ = solved(kind, *instance, gamma, k)
    assert found == pytest.approx(value, abs=tolerance)
    assert found <= value + 1e-9


@pytest.mark.parametrize("kind", [SemiDual, Dual])
def test_optimal_plans_by_hand(kind):
    _, plan = solved(kind, *THREE, 1.0, 3)
    torch.testing.assert_close(plan, tensor([[0.25, 0, 0.25], [0, 0.25, 0.05], [0, 0, 0.2]]), atol=1e-5, rtol=0)
    _, plan = solved(kind, *FOUR, 1.0, 2)
    torch.testing.assert_close(plan, tensor([[0.25, 0], [0.25, 0], [0, 0.25], [0, 0.25]]), atol=1e-5, rtol=0)
    # Column 3 needs three rows: a plan with two nonzeros misses the row sums.
    _, plan = solved(kind, *THREE, 1.0, 2)
    assert (plan.sum(1) - THREE[1]).abs().sum() > 1e-3


@pytest.mark.parametrize("k", [1, 3, 8])
def test_objectives_equal_pot_at_random_potentials(k, capsys):
    cost, a, b = problem()
    reference = SparsityConstrained(max_nz=k, gamma=0.2)
    generator = torch.Generator().manual_seed(9)
    alpha, beta = (torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_() for size in (12, 5))
    numbers = [x.detach().numpy() for x in (alpha, beta, a, b, cost)]
    value, *gradients = dual_obj_grad(*numbers, reference)
    ours = Dual(cost, a, b, 0.2, k).value(torch.cat([alpha, beta]))
    assert ours.item() == pytest.approx(value, abs=1e-12)
    for gradient, expected in zip(torch.autograd.grad(ours, (alpha, beta)), gradients, strict=True):
        np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-12)
    value, expected = semi_dual_obj_grad(numbers[0], *numbers[2:], reference)
    capsys.readouterr()  # POT prints a shape
    ours = SemiDual(cost, a, b, 0.2, k).value(alpha)
    assert ours.item() == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(ours, alpha)[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("kind", "reference"), [(SemiDual, smooth_ot_semi_dual), (Dual, smooth_ot_dual)])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_without_limit_it_is_quadratic_transport(kind, reference, gamma):
    cost, a, b = problem()
    value, plan = solved(kind, cost, a, b, gamma, None)
    expected = reference(a.numpy(), b.numpy(), cost.numpy(), gamma, reg_type="l2", stopThr=1e-13, numItermax=2000)
    np.testing.assert_allclose(plan.numpy(), expected, atol=1e-5)
    assert value == pytest.approx((expected * cost.numpy()).sum() + gamma / 2 * (expected**2).sum(), abs=1e-6)
    assert value == solved(kind, cost, a, b, gamma, 12)[0]


@pytest.mark.parametrize(("k", "tolerance"), [(3, 2e-3), (5, 2e-3), (None, 1e-6)])
def test_dual_and_semi_dual_agree(k, tolerance):
    instance = problem()
    assert solved(Dual, *instance, 0.5, k)[0] == pytest.approx(solved(SemiDual, *instance, 0.5, k)[0], abs=tolerance)


@pytest.mark.parametrize("kind", [SemiDual, Dual])
@pytest.mark.parametrize("k", [2, 4, 7])
def test_columns_keep_the_limit(kind, k):
    cost, a, b = problem()
    _, plan = solved(kind, cost, a, b, 1.0, k)
    assert (plan >= 0).all()
    assert (plan > 0).sum(0).max() <= k
    if kind is SemiDual:
        torch.testing.assert_close(plan.sum(0), b)


def test_value_falls_with_the_limit():
    cost, a, b = problem()
    values = [solved(SemiDual, cost, a, b, 0.5, k)[0] for k in (1, 2, 4, 7, 12)]
    assert all(later < earlier + 1e-6 for earlier, later in itertools.pairwise(values))


def test_one_nonzero_gives_the_linear_program_up_to_a_constant():
    cost, a, b = problem()
    expected = ((solve_exactly(cost, a, b)[0] * cost).sum() + 0.25 * b.square().sum()).item()
    objective = SemiDual(cost, a, b, 0.5, 1)
    found = objective.value(maximize_adam(objective, 2000, 0.001)[0]).item()
    assert expected - 2e-3 < found <= expected + 1e-9


@pytest.mark.parametrize("gamma", [0.05, 1.0])
@pytest.mark.parametrize(("instance", "k"), [(FOUR, 2), (problem(3, 3, 2), 2)])
def test_value_bounds_every_sparse_plan_from_below(instance, gamma, k):
    best = best_sparse_plan(*instance, gamma, k)
    assert best < np.inf
    assert solved(SemiDual, *instance, gamma, k)[0] <= best + 1e-6


def test_brute_force_finds_the_hand_computed_optimum():
    assert best_sparse_plan(*FOUR, 1.0, 2) == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize(("instance", "gamma", "k"), [(problem(), 0.5, None), (problem(1), 0.1, 4), (FOUR, 1.0, 2)])
def test_gradient_in_cost_is_the_plan(instance, gamma, k):
    cost, a, b = instance
    cost, weight = cost.clone().requires_grad_(), tensor(gamma).requires_grad_()
    by_cost, by_weight = torch.autograd.grad(transport_value(cost, a, b, weight, k), (cost, weight))
    _, plan = solved(SemiDual, cost.detach(), a, b, gamma, k)
    torch.testing.assert_close(by_cost, plan)
    assert by_weight.item() == pytest.approx(plan.square().sum().item() / 2, abs=1e-12)
    with torch.no_grad():
        step = 1e-3 * torch.rand(cost.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        up, down = (transport_value(cost + sign * step, a, b, gamma, k).item() for sign in (1, -1))
        assert (by_cost * step).sum().item() == pytest.approx((up - down) / 2, rel=1e-3)
        up, down = (transport_value(cost, a, b, gamma + shift, k).item() for shift in (1e-3, -1e-3))
        assert by_weight.item() == pytest.approx((up - down) / 2e-3, rel=1e-3)


def test_gradients_in_masses_are_the_potentials_up_to_a_constant():
    cost, a, b = problem()
    a.requires_grad_()
    b.requires_grad_()
    by_a, by_b = torch.autograd.grad(transport_value(cost, a, b, 0.5), (a, b))
    with torch.no_grad():
        step = 1e-3 * torch.sin(torch.arange(12.0).double())
        other = 1e-3 * torch.cos(torch.arange(5.0).double())
        step, other = step - step.mean(), other - other.mean()
        up, down = (transport_value(cost, a + sign * step, b + sign * other, 0.5).item() for sign in (1, -1))
        assert (by_a @ step + by_b @ other).item() == pytest.approx((up - down) / 2, rel=1e-3)


@pytest.mark.parametrize("kind", [SemiDual, Dual])
@pytest.mark.parametrize("k", [1, 3, None])
def test_invariances(kind, k):
    """They hold at all potentials, hence at the optimum too."""
    cost, a, b = problem()
    generator = torch.Generator().manual_seed(5)
    alpha, beta, u, v = (torch.randn(size, dtype=torch.float64, generator=generator) for size in (12, 5, 12, 5))

    def at(cost: Tensor, a: Tensor, b: Tensor, gamma: float, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        objective = kind(cost, a, b, gamma, k)
        potentials = alpha if kind is SemiDual else torch.cat([alpha, beta])
        return objective.value(potentials), objective.plan(potentials)

    value, plan = at(cost, a, b, 1.0, alpha, beta)
    rows, columns = torch.randperm(12, generator=generator), torch.randperm(5, generator=generator)
    for changed, expected in [
        (at(cost + u[:, None] + v, a, b, 1.0, alpha + u, beta + v), (value + u @ a + v @ b, plan)),
        (at(3 * cost, a, b, 3.0, 3 * alpha, 3 * beta), (3 * value, plan)),
        (
            at(cost[rows][:, columns], a[rows], b[columns], 1.0, alpha[rows], beta[columns]),
            (value, plan[rows][:, columns]),
        ),
    ]:
        torch.testing.assert_close(changed, expected)


@pytest.mark.parametrize("kind", [SemiDual, Dual])
@pytest.mark.parametrize("maximize", [partial(maximize_adam, steps=50, learning_rate=0.01), maximize_lbfgs])
def test_a_batch_is_solved_like_its_problems(kind, maximize):
    cost, a, b = (torch.stack(parts) for parts in zip(*(problem(seed) for seed in range(3)), strict=True))
    together = kind(cost, a, b, 1.0, 12)
    potentials, _ = maximize(together)
    assert together.plan(potentials).shape == (3, 12, 5)
    single = [kind(cost[i], a[i], b[i], 1.0, 12) for i in range(3)]
    values = torch.stack([objective.value(maximize(objective)[0]) for objective in single])
    torch.testing.assert_close(together.value(potentials), values, atol=1e-8, rtol=0)


def test_adam_approaches_the_optimum():
    objective = SemiDual(*problem(), 1.0, 5)
    best = objective.value(maximize_lbfgs(objective)[0]).item()
    gaps = [best - objective.value(maximize_adam(objective, steps, 0.01)[0]).item() for steps in (10, 300)]
    assert gaps[0] > gaps[1] > -1e-9
    assert gaps[1] < 1e-3


def test_loss_inside_a_network_in_single_precision():
    cost, a, b = (x.float() for x in problem())
    cost.requires_grad_()
    value = transport_value(cost, a, b, 0.5, 4, partial(maximize_adam, steps=200, learning_rate=0.02))
    assert value.dtype == torch.float32
    value.backward()
    torch.testing.assert_close(cost.grad.sum(0), b)
    with torch.no_grad():
        assert transport_value(cost, a, b, 0.5, 4).item() == pytest.approx(value.item(), abs=1e-3)


@pytest.mark.parametrize(
    ("gamma", "k", "message"), [(0.0, 2, "quadratic_weight"), (-1.0, None, "positive"), (1.0, 0, "max_nonzeros")]
)
def test_bad_weights_are_refused(gamma, k, message):
    with pytest.raises(ConfigError, match=message):
        SemiDual(*problem(), gamma, k)


def test_the_cards_small_benchmark():
    """Marginal errors and nonzeros per column, means of two problems of its distribution."""
    pool = load("gaussian_clouds").validation

    def means(gamma: float, k: int) -> tuple[float, float]:
        rows = []
        for index in range(2):
            cost, a, b = pool[index]
            objective = SemiDual(cost, a, b, gamma, k)
            plan = objective.plan(maximize_lbfgs(objective)[0])
            rows.append([(plan.sum(1) - a).abs().sum().item(), (plan > 0).sum(0).double().mean().item()])
        return tuple(np.mean(rows, axis=0))

    error, nonzeros = means(0.1, 16)
    assert error < 1e-3
    assert 8.5 < nonzeros < 10.5
    assert means(0.1, 8)[1] == 8


@pytest.mark.parametrize(("kind", "k", "gamma"), [(SemiDual, 1, 0.1), (Dual, 1, 0.1), (SemiDual, 2, 0.1), (Dual, 2, 1.0)])
def test_the_gap_is_what_the_value_may_lack(kind, k, gamma):
    """At limits where L-BFGS alone stops up to 3.8 % below the maximum. A lower and an upper bound that meet prove it."""
    cost, a, b = load("gaussian_clouds").validation[0]
    objective = kind(cost, a, b, gamma, k)
    found = maximize(objective, 500)
    value = objective.value(found.potentials).item()
    assert -1e-12 < found.gap.item() < 1e-6
    if k == 1:
        plan, _ = solve_exactly(cost, a, b)
        assert value == pytest.approx((plan * cost).sum().item() + gamma / 2 * b.square().sum().item(), abs=1e-10)
    alone, _ = ascend(objective, 60)
    lacks = value - objective.value(alone).item()
    assert lacks > 1e-5
    assert duality_gap(objective, alone, objective.plan(alone)).item() >= lacks


def test_the_gap_vanishes_between_many_limits():
    cost, a, b = problem(m=8, n=4)
    for gamma, k in itertools.product((0.1, 2.0), (2, 3, 5, None)):
        found = maximize(SemiDual(cost, a, b, gamma, k), 1000)
        assert -1e-12 < found.gap.item() < 2e-6


@pytest.mark.parametrize("k", [1, 2, 12])
def test_a_cost_of_zero_has_a_plan(k):
    _, a, b = problem()
    for method in (SparseTransport(max_nonzeros=k), SparseTransport(max_nonzeros=k, solver="dual"), Sinkhorn()):
        solution = method.solve(torch.zeros(12, 5).double(), a, b, method.weight_values())
        assert solution.plan.isfinite().all()
        torch.testing.assert_close(solution.plan.sum(0), b, atol=1e-6, rtol=0)


def test_potentials_that_are_shifted_keep_their_value():
    """Their squares, and those of the thresholds, would cancel."""
    cost, a, b = problem()
    objective = SemiDual(cost, a, b, 0.1, 3)
    alpha = torch.linspace(-1, 1, 12).double()
    assert objective.value(alpha + 1e6).item() == pytest.approx(objective.value(alpha).item(), abs=1e-8)
