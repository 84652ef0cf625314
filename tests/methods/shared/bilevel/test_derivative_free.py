"""Search without gradients: each searcher asks what its library asks when it is driven directly, and can be interrupted."""

import io
import itertools
import sys
import threading

import dfols
import numpy as np
import optuna
import pytest
import torch
from bilevel_problems import LogCosh, Scalar, easy_quadratic, quadratic

from regbench.methods.classification.weighted_logistic_regression import LogisticRegressionProblem
from regbench.methods.errors import CheckpointError, ConfigError
from regbench.methods.imaging.field_of_experts import FieldOfExpertsProblem
from regbench.methods.imaging.total_variation import TotalVariationProblem
from regbench.methods.shared.bilevel.derivative_free import REDUCTION, DerivativeFree, DerivativeFreeOptions
from regbench.methods.shared.bilevel.learner import Stop
from regbench.methods.shared.bilevel.lower import fista, lbfgs
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.bilevel.quadratic import Quadratic

BOX = (-2.0, 3.0)
SAMPLERS = {
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
    "cmaes": optuna.samplers.CmaEsSampler,
}
SEARCHERS = (*SAMPLERS, "dfols")


class Exact(Quadratic):
    """Solved by its closed form, so that f at a point does not depend on what was asked before."""

    @classmethod
    def of(cls, base: Quadratic) -> "Exact":
        return cls(base.A1, base.A2, base.A3, base.b1, base.b2, base.x0, base.theta0)

    def upper(self, x, theta):
        return super().upper(self.solution(theta), theta)

    def residuals(self, x, theta):
        return super().residuals(self.solution(theta), theta)


def search(problem, searcher, seed=5, box=BOX):
    return DerivativeFree(problem, DerivativeFreeOptions(searcher=searcher, seed=seed, box=box, lower_solver=lbfgs))


def same(a, b):
    return torch.equal(a.theta, b.theta) and all(getattr(a, name) == getattr(b, name) for name in vars(a) if name != "theta")


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("searcher", SAMPLERS)
def test_samplers_ask_what_optuna_asks(searcher):
    problem, asked = Exact.of(quadratic()), []

    def objective(trial):
        asked.append([trial.suggest_float(f"theta{j}", *BOX) for j in range(4)])
        return problem.value(torch.tensor(asked[-1], dtype=torch.float64)).item()

    study = optuna.create_study(sampler=SAMPLERS[searcher](seed=5))
    study.enqueue_trial({f"theta{j}": 1.0 for j in range(4)})
    study.optimize(objective, n_trials=30)
    learner = search(problem, searcher)
    records = list(itertools.islice(learner, 30))
    assert asked[0] == [1.0] * 4
    assert torch.equal(learner.state.asked, torch.tensor(asked, dtype=torch.float64))
    assert records[-1].value == study.best_value
    best = study.best_params
    assert records[-1].theta.tolist() == [best[f"theta{j}"] for j in range(4)]


def test_dfols_asks_what_a_direct_call_asks_and_finds_the_minimum():
    problem, asked = Exact.of(easy_quadratic()), []

    def residuals(theta):
        asked.append(theta.copy())
        return problem.residuals(problem.x0, torch.from_numpy(theta)).numpy()

    bounds = tuple(np.full(4, limit) for limit in BOX)
    found = dfols.solve(residuals, problem.theta0.numpy(), bounds=bounds, rhoend=1e-8, maxfun=1000, do_logging=False)
    random = np.random.get_state()[1].copy()
    learner = search(problem, "dfols")
    records = list(learner)
    assert np.array_equal(np.random.get_state()[1], random)
    assert learner.stopped is Stop.SEARCH_ENDED
    assert len(records) == found.nf
    np.testing.assert_allclose(learner.state.asked.numpy(), np.array(asked), rtol=0, atol=1e-12)
    assert (records[-1].theta - problem.minimizer()).norm() < 1e-5
    assert records[-1].value == pytest.approx(found.obj, rel=1e-12)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_record_is_of_the_best_point_so_far(searcher):
    problem = Exact.of(quadratic())
    learner = search(problem, searcher)
    records = list(itertools.islice(learner, 20))
    values = [problem.value(theta).item() for theta in learner.state.asked]
    assert [record.value for record in records] == pytest.approx(list(itertools.accumulate(values, min)), rel=1e-12)
    assert [record.iteration for record in records] == list(range(1, 21))
    for record in records:
        assert problem.value(record.theta).item() == pytest.approx(record.value, rel=1e-12)
        assert ((record.theta >= BOX[0]) & (record.theta <= BOX[1])).all()
        assert record.linear_iterations == 0
        assert record.cost == record.lower_iterations
        assert record.gradient_norm is record.lower_tolerance is record.step_size is None


def test_a_start_outside_the_range_is_moved_to_its_border():
    learner = search(Scalar(theta0=5.0), "random", box=(-1.0, 1.0))
    assert learner.step().theta.item() == 1.0


def problems():
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    rows = [(uniform(30, 5), torch.arange(30) % 3), (uniform(20, 5), torch.arange(20) % 3)]
    theta = torch.cat([torch.full((5,), -3.0, dtype=torch.float64), uniform(18) - 0.5])
    start = torch.tensor([-3.0, -4.0], dtype=torch.float64)
    yield pytest.param(quadratic(samples=3), id="quadratic")
    yield pytest.param(TotalVariationProblem(uniform(3, 1, 8, 8), uniform(3, 1, 8, 8), start), id="total_variation")
    experts = FieldOfExpertsProblem(uniform(3, 1, 8, 8), uniform(3, 1, 8, 8), theta, 2, 3)
    yield pytest.param(experts, id="field_of_experts")
    yield pytest.param(LogisticRegressionProblem(*rows, 3, -3.0, "class"), id="logistic")
    yield pytest.param(LogCosh(), id="one residual a sample")


@pytest.mark.parametrize("problem", problems())
def test_the_squares_of_the_residuals_add_up_to_f(problem):
    x = problem.x0 + 0.1 * torch.randn(problem.x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    residuals = problem.residuals(x, problem.theta0)
    assert residuals.dim() == 1
    assert residuals.square().sum().item() == pytest.approx(problem.upper(x, problem.theta0).mean().item(), rel=1e-12)


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("make", [easy_quadratic, LogCosh])
@pytest.mark.parametrize("after", [0, 1, 4, 15])
def test_resumes_bit_for_bit_and_solves_nothing_again(searcher, make, after):
    whole = list(itertools.islice(search(make(), searcher), 20))
    first = search(make(), searcher)
    list(itertools.islice(first, after))
    saved = first.state_dict()
    if after:
        first.step()
    assert len(saved["asked"]) == len(saved["told"]) == after
    second = search(make(), searcher)
    calls, gradient = [], second.problem.lower_gradient
    second.problem.lower_gradient = lambda *point: calls.append(point) or gradient(*point)
    second.load_state_dict(through_file(saved))
    assert not calls
    rest = list(itertools.islice(second, 20 - after))
    assert all(map(same, whole[after:], rest))
    assert len(rest) == len(whole) - after


def test_resumes_at_and_after_the_end_of_a_search():
    first = search(easy_quadratic(), "dfols")
    whole = list(first)
    second = search(easy_quadratic(), "dfols")
    second.load_state_dict(through_file(first.state_dict()))
    assert second.stopped is Stop.SEARCH_ENDED
    assert list(second) == []
    before = search(easy_quadratic(), "dfols")
    list(itertools.islice(before, len(whole) - 1))
    third = search(easy_quadratic(), "dfols")
    third.load_state_dict(through_file(before.state_dict()))
    (last,) = third
    assert same(last, whole[-1])


def test_foreign_states_are_refused():
    first = search(quadratic(), "random")
    list(itertools.islice(first, 3))
    with pytest.raises(CheckpointError, match="tpe does not ask for the points"):
        search(quadratic(), "tpe", seed=6).load_state_dict(first.state_dict())
    with pytest.raises(CheckpointError, match="dfols does not ask for the points"):
        search(quadratic(), "dfols").load_state_dict(first.state_dict())
    with pytest.raises(CheckpointError, match="not the state of a DerivativeFree"):
        search(quadratic(), "tpe").load_state_dict(Maid(quadratic(), MaidOptions()).state_dict())
    with pytest.raises(CheckpointError, match="problem"):
        search(LogCosh(), "random").load_state_dict(first.state_dict())


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("solver", [lbfgs, fista])
def test_counts_are_what_was_evaluated_and_solutions_are_as_accurate_as_promised(searcher, solver):
    counts = {"gradient": 0}

    class Counting(Quadratic):
        def lower_gradient(self, x, theta):
            counts["gradient"] += 1
            return super().lower_gradient(x, theta)

        def hessian(self, x, theta):
            raise AssertionError("no Hessian is needed")

    base = quadratic()
    problem = Counting(base.A1, base.A2, base.A3, base.b1, base.b2, base.x0, base.theta0)
    learner = DerivativeFree(problem, DerivativeFreeOptions(searcher=searcher, box=BOX, lower_solver=solver))
    first = base.lower_gradient(base.x0, base.theta0).norm()
    for record in itertools.islice(learner, 12):
        assert record.lower_iterations == counts["gradient"]
        here = base.lower_gradient(learner.state.x, learner.state.asked[-1])
        assert here.norm() <= REDUCTION * first


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_single_precision_resumes_too(searcher):
    def make():
        return quadratic().to(torch.float32)

    whole = list(itertools.islice(search(make(), searcher), 12))
    assert whole[-1].theta.dtype == torch.float32
    first, second = search(make(), searcher), search(make(), searcher)
    list(itertools.islice(first, 5))
    second.load_state_dict(through_file(first.state_dict()))
    assert all(map(same, whole[5:], itertools.islice(second, 7)))


def test_seeds_draw_other_points():
    first, second = (search(quadratic(), "random", seed=seed) for seed in (1, 2))
    for learner in (first, second):
        list(itertools.islice(learner, 2))
    assert torch.equal(first.state.asked[0], second.state.asked[0])
    assert not torch.equal(first.state.asked[1], second.state.asked[1])


def test_a_missing_package_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "dfols", None)
    with pytest.raises(ConfigError) as caught:
        search(quadratic(), "dfols")
    assert str(caught.value) == "learner dfols needs DFO-LS: pip install 'regbench[dfols]', or choose another learner"


def test_cmaes_refuses_a_single_parameter():
    with pytest.raises(ConfigError, match="two or more parameters"):
        search(Scalar(), "cmaes")


def test_a_range_that_is_too_narrow_for_dfols_is_refused():
    with pytest.raises(ConfigError, match="gap between lower and upper"):
        search(quadratic(), "dfols", box=(0.95, 1.05))


def test_a_search_without_a_range_is_refused():
    with pytest.raises(ConfigError, match="needs a box"):
        DerivativeFreeOptions(searcher="tpe")


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    learner = search(quadratic(), "dfols")
    learner.step()
    (thread,) = set(threading.enumerate()) - before
    del learner
    thread.join(10)
    assert not thread.is_alive()


def test_samplers_leave_optunas_verbosity_alone():
    before = optuna.logging.get_verbosity()
    search(quadratic(), "tpe").step()
    assert optuna.logging.get_verbosity() == before
