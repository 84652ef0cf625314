import io
import itertools

import numpy as np
import ot
import pytest
import torch
from pydantic import ValidationError

from regbench.methods import Data, Run
from regbench.methods.errors import ConfigError
from regbench.methods.registry import create, tracks
from regbench.methods.shared.data import load
from regbench.methods.shared.data.point_clouds import squared_distances
from regbench.methods.transport.exact_transport import ExactTransport
from regbench.methods.transport.linear_program import solve_exactly
from regbench.methods.transport.sinkhorn import Sinkhorn
from regbench.methods.transport.sparse_transport import SparseTransport
from regbench.methods.transport.task import TRACK, plan_metrics
from regbench.search_spaces.ranges import extremes, space

METHODS = [
    ExactTransport(problems=3),
    Sinkhorn(problems=3),
    SparseTransport(problems=3),
    SparseTransport(problems=3, solver="dual", max_nonzeros=None, quadratic_weight=1.0),
    SparseTransport(problems=3, optimizer="adam", solver_steps=50),
]


def curve(method, data="gaussian_clouds", **options):
    return list(method.train(Run(data, **options)))


@pytest.mark.parametrize("name", TRACK.data)
def test_data_sets_are_transport_problems(name):
    data = load(name)
    for split in (data.train, data.validation, data.test):
        cost, a, b = split.tensors
        assert {cost.dtype, a.dtype, b.dtype} == {torch.float64}
        assert cost.shape == (len(split), *data.meta["shape"]) == (len(split), a.shape[1], b.shape[1])
        assert (cost >= 0).all()
        torch.testing.assert_close(cost.amax((1, 2)), torch.ones(len(split), dtype=torch.float64))
        for mass in (a, b):
            assert (mass >= 0).all()
            torch.testing.assert_close(mass.sum(1), torch.ones(len(split), dtype=torch.float64))
    assert len(data.validation) == len(data.test) == 200


def test_splits_share_no_problem():
    for name in TRACK.data:
        data = load(name)
        rows = [
            torch.cat([tensor.flatten(1) for tensor in split.tensors], 1) for split in (data.train, data.validation, data.test)
        ]
        assert len(torch.cat(rows).unique(dim=0)) == 420


def test_squared_distances_equal_pot():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 2)), random.normal(size=(3, 2))
    expected = ot.dist(x, y)
    np.testing.assert_allclose(squared_distances(x, y), expected / expected.max())


def test_track_is_found_with_its_baseline():
    assert tracks()["transport"] is TRACK
    assert create(TRACK.baseline, {}) == ExactTransport()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_same_seed_same_curve_and_fresh_seed_fresh_problems(method):
    assert curve(method, seed=1) == curve(method, seed=1)
    first, second = (curve(method, seed=seed)[-1]["val/cost"] for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_rounds_and_metrics(method):
    found = curve(method, test=True)
    assert len(found) == method.rounds == 3
    for metrics in found:
        assert {metric.validation for metric in TRACK.metrics} <= set(metrics)
        assert all(np.isfinite(value) and isinstance(value, float) for value in metrics.values())
    assert not any(name.startswith("test/") for metrics in found[:-1] for name in metrics)
    assert {metric.test for metric in TRACK.metrics} <= set(found[-1])
    assert [{name: m[name] for name in found[0]} for m in found] == curve(method)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_interrupted_run_continues_as_if_never_stopped(method):
    whole = curve(method, seed=3, test=True)
    run = Run("gaussian_clouds", seed=3, test=True)
    first = list(itertools.islice(method.train(run), 2))
    buffer = io.BytesIO()
    torch.save(run.state(), buffer)
    buffer.seek(0)
    rest = curve(method, seed=3, test=True, checkpoint=torch.load(buffer, weights_only=True))
    assert first + rest == whole


def test_a_kept_state_does_not_change_as_the_run_goes_on():
    method, run = ExactTransport(problems=3), Run("gaussian_clouds")
    training = method.train(run)
    next(training)
    state = run.state()
    rest = list(training)
    assert curve(method, checkpoint=state) == rest


def test_all_methods_of_a_seed_solve_the_same_problems():
    exact, sparse = (
        [row["val/cost"] - row["val/cost_gap"] for row in curve(method, seed=4)] for method in (METHODS[0], METHODS[2])
    )
    assert exact == pytest.approx(sparse)


@pytest.mark.parametrize("data", TRACK.data)
@pytest.mark.parametrize("method", METHODS[1:], ids=repr)
def test_weights_off_is_the_baseline(method, data):
    assert curve(method.baseline(), data, test=True) == curve(ExactTransport(problems=3), data, test=True)


@pytest.mark.parametrize("data", TRACK.data)
def test_exact_transport_has_no_gap(data):
    metrics = curve(ExactTransport(), data)[-1]
    assert metrics["val/cost_gap"] == 0
    assert metrics["val/penalized_gap"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("data", TRACK.data)
@pytest.mark.parametrize("method", METHODS[1:], ids=repr)
def test_penalized_gap_is_at_least_half_the_penalty(method, data):
    metrics = curve(method, data)[-1]
    assert metrics["val/penalized_gap"] >= metrics["val/marginal_error"] / 2 - 1e-12


def test_penalized_gap_of_arbitrary_plans_is_at_least_half_the_penalty():
    pool, generator = load("gaussian_clouds").test, torch.Generator().manual_seed(0)
    cost, a, b = pool[0]
    optimal, _ = solve_exactly(cost, a, b)
    least = (optimal * cost).sum().item()
    for scale in (0.0, 0.5, 1.0, 2.0):
        noise = torch.rand(cost.shape, dtype=torch.float64, generator=generator)
        for plan in (scale * optimal, scale * noise / noise.sum(), scale * optimal * (noise > 0.5)):
            metrics = plan_metrics(plan, cost, a, b, least)
            assert metrics["penalized_gap"] >= metrics["marginal_error"] / 2 - 1e-12


def test_metrics_of_a_plan_by_hand():
    cost, a, b = torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])
    plan = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    assert plan_metrics(plan, cost, a, b, least=1.5) == pytest.approx(
        {"penalized_gap": -1.0 + 0.5 * 4, "marginal_error": 0.5, "nonzeros": 1.0, "cost_gap": -1.0, "cost": 0.5}
    )


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("data", TRACK.data)
def test_sinkhorn_equals_pot(epsilon, data):
    cost, a, b = load(data).validation[0]
    method = Sinkhorn(entropic_weight=epsilon, solver_steps=5000, tolerance=1e-12)
    solution = method.solve(cost, a, b, method.weight_values())
    rows, columns = a > 0, b > 0  # POT takes the logarithm of empty bins
    expected = ot.sinkhorn(
        a[rows].numpy(),
        b[columns].numpy(),
        cost[rows][:, columns].numpy(),
        epsilon,
        method="sinkhorn_log",
        stopThr=1e-12,
        numItermax=5000,
    )
    np.testing.assert_allclose(solution.plan[rows][:, columns].numpy(), expected, atol=1e-8)
    assert solution.plan[~rows].sum() == solution.plan[:, ~columns].sum() == 0


def test_sinkhorn_stops_at_its_limit_and_its_tolerance():
    cost, a, b = load("gaussian_clouds").validation[0]

    def solve(**settings):
        method = Sinkhorn(**settings)
        return method.solve(cost, a, b, method.weight_values())

    assert solve(entropic_weight=1e-3, solver_steps=7).iterations == 7
    loose = solve(entropic_weight=0.1, tolerance=1e-3)
    assert loose.iterations < solve(entropic_weight=0.1).iterations
    assert (loose.plan.sum(0) - b).abs().sum() <= 1e-3


@pytest.mark.parametrize("method", METHODS[1:], ids=repr)
def test_weights_are_relative_to_the_cost(method):
    cost, a, b = load("gaussian_clouds").validation[1]
    weights = method.weight_values()
    plan = method.solve(cost, a, b, weights).plan
    torch.testing.assert_close(method.solve(8 * cost, a, b, weights).plan, plan, atol=1e-9, rtol=0)


def test_sparsity_is_kept_where_quadratic_transport_exceeds_it():
    limited = curve(SparseTransport(problems=2, quadratic_weight=1.0, max_nonzeros=10))[-1]
    free = curve(SparseTransport(problems=2, quadratic_weight=1.0, max_nonzeros=None))[-1]
    dense = curve(Sinkhorn(problems=2))[-1]
    assert limited["val/nonzeros"] <= 10 < free["val/nonzeros"] < dense["val/nonzeros"]
    assert free["val/iterations"] < limited["val/iterations"]


def test_too_tight_a_limit_shows_as_infeasible():
    metrics = curve(SparseTransport(max_nonzeros=4, problems=2))[-1]
    assert metrics["val/marginal_error"] == pytest.approx(1, abs=0.05)  # 32 of 64 rows stay without mass


def test_limit_without_quadratic_weight_is_refused():
    with pytest.raises(ConfigError, match="quadratic_weight > 0"):
        create("sparse_transport", {"quadratic_weight": 0.0, "max_nonzeros": 8})
    assert create("sparse_transport", {"quadratic_weight": 0.0, "max_nonzeros": None}) == SparseTransport().baseline()


@pytest.mark.parametrize(
    "settings", [{"quadratic_weight": -1}, {"max_nonzeros": 0}, {"solver": "primal"}, {"solver_steps": 0}, {"problems": 0}]
)
def test_values_out_of_range_are_refused(settings):
    with pytest.raises(ValidationError):
        SparseTransport(**settings)


def test_more_problems_than_the_pool_are_refused():
    full = load("gaussian_clouds")
    short = torch.utils.data.TensorDataset(*full.validation[:2])
    data = Data("short", full.train, short, full.test)
    with pytest.raises(ConfigError, match="short holds 2 validation problems"):
        curve(ExactTransport(problems=3), data)


@pytest.mark.parametrize("method", [ExactTransport, Sinkhorn, SparseTransport])
def test_search_space_covers_every_weight_and_its_default(method):
    ranges = space(method.slug)
    assert set(method.weights()) <= set(ranges) <= set(method.model_fields)
    for name, limits in ranges.items():
        default = method.model_fields[name].default
        assert limits._contains(limits.to_internal_repr(default))
        for value in extremes(limits):
            assert getattr(create(method.slug, {name: value}), name) == value
