"""AEM: its objective, its schedule, where its gradient goes, and that it keeps attention from collapsing."""

import math
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.multiple_instance.aggregators import Aggregate
from regbench.methods.multiple_instance.attention_entropy_mil import AttentionEntropyMIL
from regbench.methods.multiple_instance.attention_mil import AttentionMIL
from regbench.methods.multiple_instance.task import TRACK, Batch
from regbench.methods.run import Alone
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.bags import Bags

AGGREGATORS = ("gated_attention", "attention", "multi_head_attention", "dsmil")
SMALL = dict(TRACK.smoke)
LOGITS = torch.tensor([[0.2, -0.3]], dtype=torch.float64)
ATTENTION = torch.tensor([[[0.0, 1.0, 2.0, -1.0]]], dtype=torch.float64)


def batch(y, progress=0.0, x=None):
    x = torch.zeros(len(y), 4, 2, dtype=torch.float64) if x is None else x
    return Batch(x, torch.ones(x.shape[:2], dtype=torch.bool), torch.tensor(y), progress)


def given(*aggregate):
    """A model that gives the same aggregate for whatever bag."""
    return lambda x, present: Aggregate(*aggregate)


def loss(method, model, *place):
    return method.objective(model, batch(*place), method.weight_values())[0].item()


def curve(method, data="digit_bags", **options):
    return list(method.train(Run(data, **options)))


def curve_and_model(method, data, **options):
    run = Run(data, **options)
    return list(method.train(run)), run.state()["state"]["model"]


@pytest.fixture(scope="module")
def uneven():
    """Bags of 1 to 9 instances, positive if one of them has a large first feature; the same ones in each split."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.arange(48) % 9 + 1
    labels = torch.arange(48) % 2
    x = torch.randn(int(counts.sum()), 4, generator=generator)
    x[(counts.cumsum(0) - counts)[labels == 1], 0] += 4
    split = Bags(x, counts, labels)
    return Data("uneven", split, split, split, {"classes": 2, "shape": (4,)})


# The objective


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.974077), (0.1, 0.879323)])
def test_the_cards_loss(weight, expected):
    found = loss(AttentionEntropyMIL(attention_entropy_weight=weight), given(LOGITS, ATTENTION), [1])
    assert found == pytest.approx(expected, abs=1e-6)


def test_entropies_of_a_batch_are_averaged_and_not_that_of_all_its_instances():
    both = torch.cat([ATTENTION, torch.zeros_like(ATTENTION)])
    found = loss(AttentionEntropyMIL(attention_entropy_weight=1.0), given(LOGITS.expand(2, 2), both), [1, 1])
    assert found == pytest.approx(0.974077 + (-0.947537 - math.log(4)) / 2, abs=1e-6)


@pytest.mark.parametrize("method", [AttentionMIL(), AttentionEntropyMIL(attention_entropy_weight=0.1)])
def test_both_streams_share_the_cross_entropy(method):
    critical = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    plain = 0.5 * 0.974077 + 0.5 * math.log(1 + math.exp(-2))
    expected = plain - (0.0947537 if isinstance(method, AttentionEntropyMIL) else 0)
    assert loss(method, given(LOGITS, ATTENTION, critical), [1]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("progress", "weight"), [(0, 0.1), (0.25, 0.0853553), (0.5, 0.05), (0.75, 0.0146447), (1, 0)])
def test_the_weight_falls_along_half_a_cosine_or_not_at_all(progress, weight):
    for annealing, expected in (("cosine", weight), ("constant", 0.1)):
        method = AttentionEntropyMIL(attention_entropy_weight=0.1, weight_annealing=annealing)
        found = loss(method, given(LOGITS, ATTENTION), [1], progress) - 0.974077
        assert found == pytest.approx(-0.947537 * expected, abs=1e-6)


def test_its_derivative_in_the_weight_is_the_term():
    value = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    weights = SimpleNamespace(attention_entropy_weight=value)
    AttentionEntropyMIL().objective(given(LOGITS, ATTENTION), batch([1]), weights)[0].backward()
    assert value.grad.item() == pytest.approx(-0.947537, abs=1e-6)


# Gradients


# Attention is a softmax: what shifts all logits of a map alike, and this does, has no gradient.
SHIFTS = {"gated_attention": {"score.bias"}, "attention": {"score.bias"}, "multi_head_attention": {"keys.bias"}, "dsmil": set()}
# Reached by cross-entropy, but not through attention.
BEHIND = {
    "gated_attention": {"classifier"},
    "attention": {"classifier"},
    "multi_head_attention": {"classifier", "values", "output"},
    "dsmil": {"classifier", "instance_classifier"},
}


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_gradients_reach_what_should_learn_and_nothing_else(aggregator):
    torch.manual_seed(0)
    method = AttentionEntropyMIL(**SMALL, aggregator=aggregator)
    model = method.build_model(SimpleNamespace(meta={"classes": 2, "shape": (2,)})).double().eval()
    if aggregator == "multi_head_attention":
        torch.nn.init.normal_(model.query)
    bags = batch([0, 1, 1], x=torch.randn(3, 4, 2, dtype=torch.float64))
    total, found = method.objective(model, bags, SimpleNamespace(attention_entropy_weight=1.0))
    term = total - AttentionMIL(**SMALL, aggregator=aggregator).objective(model, bags, SimpleNamespace())[0]
    names, parameters = zip(*model.named_parameters(), strict=True)
    for value, unreached in ((total, set()), (term, BEHIND[aggregator])):
        gradients = dict(zip(names, torch.autograd.grad(value, parameters, retain_graph=True), strict=True))
        still = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-12}
        expected = {name for name in names if name.partition(".")[0] in unreached}
        assert still == expected | SHIFTS[aggregator]
    assert found.attention.requires_grad


# Training


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("settings", [{}, {"instance_subsampling": 0.8}, {"batch_size": 1, "epochs": 1}])
def test_switched_off_it_is_plain_attention_bit_for_bit(uneven, aggregator, settings):
    settings = SMALL | settings | {"aggregator": aggregator}
    off = AttentionEntropyMIL(**settings, weight_annealing="cosine").baseline()
    plain = AttentionMIL(**settings)
    (found, first), (expected, second) = (curve_and_model(method, uneven, test=True) for method in (off, plain))
    assert found == expected
    assert all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.parametrize("aggregator", [*AGGREGATORS, "mean"])
def test_runs_repeat_and_resume_with_every_aggregator(uneven, aggregator):
    settings = SMALL | {"aggregator": aggregator, "instance_subsampling": 0.7}
    method = AttentionMIL(**settings) if aggregator == "mean" else AttentionEntropyMIL(**settings, weight_annealing="cosine")
    whole = curve(method, uneven)
    checkpoint, found = None, []
    for _ in range(method.rounds):
        run = Run(uneven, checkpoint=checkpoint)
        found.append(next(method.train(run)))
        checkpoint = run.state()
    assert found == whole == curve(method, uneven)


def test_learning_rate_and_decay_follow_the_schedule_step_by_step(uneven):
    """Against AdamW written out, on the gradients of the same bags; two epochs of 12 steps."""
    method = AttentionMIL(**SMALL | {"epochs": 2, "batch_size": 4, "learning_rate": 0.01}, weight_decay=0.3)
    seen = []

    class Watched(AttentionMIL):
        """Keeps the parameters and gradients of each step."""

        def objective(self, model, batch, weights):
            seen.append([p.detach().clone() for p in model.parameters()])
            value, found = super().objective(model, batch, weights)
            seen[-1] = (seen[-1], torch.autograd.grad(value, list(model.parameters()), retain_graph=True), batch.progress)
            return value, found

    list(Watched(**method.model_dump()).train(Run(uneven)))
    assert [progress for *_, progress in seen] == pytest.approx([step / 24 for step in range(24)])
    first = second = 0.0
    for step in range(23):
        before, gradients, progress = seen[step]
        rate = 0.01 * (1 + math.cos(math.pi * progress)) / 2
        first = 0.9 * first + 0.1 * gradients[0]
        second = 0.999 * second + 0.001 * gradients[0] ** 2
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        expected = before[0] * (1 - rate * 0.3) - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        torch.testing.assert_close(seen[step + 1][0][0], expected, rtol=1e-4, atol=1e-6)


def test_a_huge_weight_makes_attention_uniform():
    method = AttentionEntropyMIL(**SMALL | {"epochs": 8, "batch_size": 5}, attention_entropy_weight=100.0)
    assert curve(method)[-1]["val/attention_entropy"] > 0.99 * math.log(60)


def test_attention_collapses_without_it_and_not_with_it():
    """Plain attention ends on few instances of a bag; uniform attention would have entropy log 60 = 4.09."""
    settings = {"epochs": 8, "feature_dim": 64, "attention_dim": 32, "learning_rate": 3e-3}
    plain = curve(AttentionMIL(**settings))
    spread = curve(AttentionEntropyMIL(**settings, attention_entropy_weight=0.3))
    assert plain[0]["val/attention_entropy"] > 4
    assert plain[-1]["val/attention_entropy"] < 2.7 < 3.5 < spread[-1]["val/attention_entropy"]
    assert plain[-1]["val/attention_largest"] > 2 * spread[-1]["val/attention_largest"]


def test_evaluation_in_parts_is_evaluation_at_once(uneven, monkeypatch):
    whole = curve(AttentionMIL(**SMALL), uneven)
    monkeypatch.setattr("regbench.methods.multiple_instance.task.EVALUATION_INSTANCES", 40)
    for one, other in zip(curve(AttentionMIL(**SMALL), uneven), whole, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


# Refusals


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="set feature_dim to a multiple of that, not 20"):
        AttentionMIL(aggregator="multi_head_attention", feature_dim=20)


def test_mean_pooling_has_no_attention_to_spread():
    with pytest.raises(ValidationError, match="mean pooling has no attention to spread"):
        AttentionEntropyMIL(aggregator="mean")


def test_a_bag_cannot_be_shared(uneven):
    world = Alone()
    world.size = 2
    with pytest.raises(ConfigError, match="batch_size 1 leaves some of 2 workers without rows"):
        next(AttentionMIL().train(Run(uneven, world=world)))
