import math

import numpy as np
import ot
import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.utils.data import TensorDataset

from regbench.methods import Run
from regbench.methods.classification.sparse_router import Experts, SparseRouter, combine, route
from regbench.methods.errors import ConfigError, DivergedError
from regbench.methods.registry import create
from regbench.search_spaces.ranges import extremes, space

STEPS = 500


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cost_of(scores):
    """The cost -W, shifted and scaled to [0, 1] row by row."""
    regret = (scores.max(1).values[:, None] - scores).numpy()
    return regret / regret.max()


@pytest.mark.parametrize("steps", [1, STEPS])
@pytest.mark.parametrize("gamma", [0.01, 0.1, 10.0])
@pytest.mark.parametrize(("m", "n", "k"), [(24, 4, 6), (24, 4, 9), (7, 8, 1), (5, 3, 2)])
def test_no_expert_takes_more_than_it_holds(m, n, k, gamma, steps):
    plan = route(random(m, n), gamma, k, steps)
    assert plan.shape == (m, n)
    assert (plan >= 0).all()
    assert (plan > 0).sum(0).max() <= k
    torch.testing.assert_close(plan.sum(0), torch.full((n,), 1 / n).double())


def test_plan_by_hand():
    scores = -torch.tensor([[0.1, 0.9], [0.2, 0.7], [0.8, 0.3], [0.6, 0.5]]).double()
    expected = torch.tensor([[0.25, 0], [0.25, 0], [0, 0.25], [0, 0.25]]).double()
    torch.testing.assert_close(route(scores, 0.1, 2, STEPS), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(route(scores, 0.0, None, STEPS), expected)


@pytest.mark.parametrize("gamma", [0.05, 1.0])
def test_limit_of_all_tokens_is_no_limit(gamma):
    scores = random(16, 4)
    assert torch.equal(route(scores, gamma, 16, STEPS), route(scores, gamma, None, STEPS))


@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_without_limit_it_is_quadratic_transport(gamma):
    scores = random(16, 4)
    a, b = np.full(16, 1 / 16), np.full(4, 1 / 4)
    expected = ot.smooth.smooth_ot_semi_dual(a, b, cost_of(scores), gamma, "l2", stopThr=1e-13, numItermax=2000)
    np.testing.assert_allclose(route(scores, gamma, None, STEPS).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_without_weights_it_is_the_linear_program(seed):
    scores = random(24, 4, seed=seed)
    plan = route(scores, 0.0, None, STEPS)
    cost = cost_of(scores)
    assert (plan.numpy() * cost).sum() == pytest.approx(ot.emd2(np.full(24, 1 / 24), np.full(4, 1 / 4), cost), abs=1e-9)
    assert ((plan > 0).sum(1) >= 1).all()
    assert (plan > 0).sum() <= 24 + 4 - 1


def test_a_large_weight_sends_every_token_to_every_expert():
    plan = route(random(16, 4), 100.0, None, STEPS)
    assert (plan > 0).all()


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_plan_ignores_what_does_not_change_choices(gamma):
    scores = random(12, 4)
    limit = 4 if gamma else None
    plan = route(scores, gamma, limit, STEPS)
    for same in (scores + random(12, 1, seed=1), 7 * scores, scores.log_softmax(1)):
        torch.testing.assert_close(route(same, gamma, limit, STEPS), plan, atol=1e-5, rtol=0)


def test_equal_scores_have_a_plan():
    for gamma in (0.0, 0.1):
        plan = route(torch.zeros(8, 2), gamma, None, STEPS)
        torch.testing.assert_close(plan.sum(0), torch.full((2,), 0.5).double())


def test_scores_that_diverged_are_refused():
    with pytest.raises(DivergedError, match="learning_rate"):
        route(torch.tensor([[1.0, torch.nan], [0.0, 1.0]]), 0.1, 2, STEPS)


def test_logits_by_hand():
    experts = torch.tensor([[[0.0, 1.0, 2.0], [math.log(3), 4.0, 8.0]]]).repeat(3, 1, 1)  # probabilities 1/4 and 3/4
    plan = torch.tensor([[0.5, 0.1], [0.0, 0.4], [0.0, 0.0]])
    expected = torch.tensor([[3.25, 6.5], [3.0, 6.0], [0.0, 0.0]])
    torch.testing.assert_close(combine(experts, plan), expected)
    double = random(3, 2, 4).requires_grad_()
    assert gradcheck(lambda x: combine(x, plan), (double,))


def test_gradient_reaches_the_router_and_the_experts_in_use():
    torch.manual_seed(0)
    network = Experts(6, 3, 4, 5, "relu")
    both = network(torch.randn(10, 6))
    plan = torch.zeros(10, 4)
    plan[:5, 0] = plan[3:9, 2] = 0.1  # the last token has no expert, experts 1 and 3 no token
    combine(both, plan).square().sum().backward()
    moved = [sum(p.grad.abs().sum().item() for p in expert.parameters()) > 0 for expert in network.experts]
    assert moved == [True, False, True, False]
    # Through the softmax, even the score of an expert without tokens matters.
    assert (network.router.weight.grad.abs().sum(1) > 0).all()


def test_plan_carries_no_gradient():
    scores = random(8, 2).requires_grad_()
    for gamma in (0.0, 0.1):
        assert not route(scores, gamma, None, STEPS).requires_grad


@pytest.mark.parametrize(("tokens", "limit"), [(128, 20), (64, 10), (100, 16), (4, 1)])
def test_limit_is_in_proportion_to_the_batch(tokens, limit):
    method = SparseRouter(quadratic_weight=1000.0)  # so large that all experts take what they can
    loads = (method.plan(random(tokens, 8), method.weight_values()) > 0).sum(0)
    assert loads.tolist() == [limit] * 8


class Fixed(SparseRouter):
    """Routes by a rule, the same for each batch of three tokens: two to expert 0, one to expert 1 too, one to none."""

    paper = None

    def plan(self, scores, weights):
        assert len(scores) == 3
        return torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_evaluation_reports_how_tokens_were_routed():
    method = Fixed(batch_size=4, max_nonzeros=4, experts=3)
    x, y = torch.randn(9, 6), torch.zeros(9, dtype=torch.int64)
    found = method.evaluate(Experts(6, 3, 3, 5, "relu"), TensorDataset(x, y), Run("digits"))
    assert found["unrouted"] == pytest.approx(1 / 3)
    assert found["experts_per_token"] == pytest.approx(1)
    assert found["load_cv"] == pytest.approx(math.sqrt(2 / 3))  # loads 2, 1, 0


def test_training_learns_and_keeps_the_load_balanced():
    curve = list(SparseRouter(epochs=3, solver_steps=100).train(Run("digits")))
    assert curve[-1]["train/loss"] < 0.75 * curve[0]["train/loss"]
    assert curve[-1]["val/accuracy"] > 0.4
    for metrics in curve:
        assert metrics["val/unrouted"] < 0.05
        assert metrics["val/load_cv"] < 0.2
        assert 1 - metrics["val/unrouted"] <= metrics["val/experts_per_token"] <= 20 * 8 / 128 + 0.1


def test_off_is_exact_transport():
    off = SparseRouter().baseline()
    assert (off.quadratic_weight, off.max_nonzeros) == (0.0, None)
    weights = off.weight_values()
    scores = random(32, 8)
    assert torch.equal(off.plan(scores, weights), route(scores, 0.0, None, STEPS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quadratic_weight": 0.0}, "quadratic_weight > 0"),
        ({"max_nonzeros": 15}, "at least 16"),
        ({"batch_size": 256}, "at least 32"),
        ({"attack_radius": 0.1}, "attack_radius"),
        ({"architecture": "deep_mlp"}, "architecture"),
    ],
    ids=repr,
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        create("sparse_router", settings)


def test_values_out_of_range_are_refused():
    for settings in ({"quadratic_weight": -1}, {"max_nonzeros": 0}, {"experts": 0}, {"solver_steps": 0}):
        with pytest.raises(ValidationError):
            SparseRouter(**settings)


def test_search_space_covers_every_weight_and_its_default():
    ranges = space("sparse_router")
    assert set(SparseRouter.weights()) <= set(ranges)
    for name, limits in ranges.items():
        default = SparseRouter.model_fields[name].default
        assert limits._contains(limits.to_internal_repr(default))
        for value in extremes(limits):
            assert getattr(create("sparse_router", {name: value}), name) == value
