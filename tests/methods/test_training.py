"""The pieces of a training do what they say, and the form of a network's training is the loop that one would write by hand."""

import math
from dataclasses import dataclass
from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.run import Alone, Run
from regbench.methods.shared.data import Data
from regbench.methods.training import Estimator, Means, MixedPrecisionMethod, NetworkMethod, StepMethod, descend, set_rate, span


def rows(count: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator)
    return TensorDataset(x, x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(count, generator=generator))


DATA = Data("lines", rows(50, 0), rows(20, 1), rows(30, 2), {"shape": (3,)})


def world(rank: int, size: int) -> Alone:
    found = Alone()
    found.rank, found.size = rank, size
    return found


@dataclass(frozen=True)
class Batch:
    x: Tensor
    y: Tensor


class Line(NetworkMethod):
    """Least squares by descent."""

    def build_model(self, data):
        return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))

    def batches(self, split, epoch, run):
        for x, y, _ in run.loader(split, self.batch_size):
            yield Batch(x, y)

    def objective(self, model, batch, weights):
        found = model(batch.x)
        return nn.functional.mse_loss(found, batch.y), found

    def evaluate(self, network, split, run):
        assert not network.training
        x, y = run.tensors(split)
        with torch.no_grad():
            return {"mse": nn.functional.mse_loss(network(x), y).item()}

    def rate(self, epoch):
        return 1 / epoch


# Pieces


@pytest.mark.parametrize(("every", "total"), [(1, 4), (3, 9), (3, 10), (7, 3)])
def test_the_spans_of_all_rounds_are_all_steps(every, total):
    rounds = [span(number, every, total) for number in range(1, math.ceil(total / every) + 1)]
    assert list(chain(*rounds)) == list(range(1, total + 1))
    assert all(len(steps) == every for steps in rounds[:-1])


def test_a_step_of_descent_moves_each_optimizers_parameters_along_the_gradient():
    a, b = (torch.tensor([value], requires_grad=True) for value in (2.0, -1.0))
    a.grad = torch.tensor([100.0])  # what is left of an earlier step has no part in this one
    optimizers = torch.optim.SGD([a], lr=0.1), torch.optim.SGD([b], lr=0.5)
    descend((a**2 + 3 * b).sum(), *optimizers)
    assert a.item() == pytest.approx(2.0 - 0.1 * 4.0)
    assert b.item() == pytest.approx(-1.0 - 0.5 * 3.0)


def test_a_rate_is_set_for_all_groups_and_the_decay_where_it_is_given():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [p]} for p in parameters], lr=1.0, weight_decay=0.3)
    set_rate(optimizer, 0.1)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == 2 * [(0.1, 0.3)]
    set_rate(optimizer, 0.2, 0.0)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == 2 * [(0.2, 0.0)]


def test_means_are_over_batches_and_hold_no_graph():
    means, weight = Means(), torch.ones((), requires_grad=True)
    for value in (1.0, 2.0, 6.0):
        means.add(loss=value * weight)
    means.add(seldom=torch.tensor(4.0))
    assert means.metrics() == {"train/loss": 3.0, "train/seldom": 4.0}
    assert not any(value.requires_grad for values in means._found.values() for value in values)


# What a run judges and draws


def test_a_run_is_tested_in_its_last_round_alone_and_only_when_asked():
    def judged(test: bool) -> list[dict[str, float]]:
        run = Run(DATA, test=test)
        run.restore()
        return [run.judge(lambda split: {"rows": float(len(split))}) for _ in run.rounds(2)]

    assert judged(test=False) == 2 * [{"val/rows": 20.0}]
    assert judged(test=True) == [{"val/rows": 20.0}, {"val/rows": 20.0, "test/rows": 30.0}]


def test_the_judged_splits_have_names():
    assert [Run(DATA).split_name(split) for split in (DATA.validation, DATA.test)] == ["validation", "test"]


def test_workers_share_what_one_would_draw():
    alone = Run(DATA).draw(50, 10)
    shares = [Run(DATA, world=world(rank, 3)).draw(50, 10) for rank in range(3)]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert torch.equal(torch.stack(shares, 1).flatten(), alone[:9])
    assert len(torch.cat([Run(DATA, seed=seed).draw(5, 100).unique() for seed in range(2)])) == 10


def test_more_workers_than_rows_of_a_batch_are_refused():
    run = Run(DATA, world=world(0, 4))
    for draw in (lambda: run.draw(50, 3), lambda: next(run.loader(DATA.train, 3))):
        with pytest.raises(ConfigError, match="batch_size 3 leaves some of 4 workers without rows: set it to at least that"):
            draw()


def test_parts_of_the_state_are_found_by_name():
    run, book = Run(DATA), {"sum": 1.0}
    run.restore(book=book, nothing=None)
    assert run.part("book") is book
    assert run.part("nothing") is None


# Forms


def test_a_network_is_trained_as_one_would_by_hand():
    method = Line(epochs=3, batch_size=16, learning_rate=0.1, weight_decay=0.01)
    run = Run(DATA, seed=3, test=True)
    found = list(method.train(run))

    by_hand = Run(DATA, seed=3)
    network = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.01)
    expected = []
    for epoch in range(1, 4):
        optimizer.param_groups[0]["lr"] = 0.1 / epoch
        total = 0.0
        for x, y, _ in by_hand.loader(DATA.train, 16):
            loss = (network(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        x, y = DATA.validation.tensors
        expected.append((total / 50, (network(x) - y).square().mean().item()))
    assert [metrics["train/loss"] for metrics in found] == pytest.approx([loss for loss, _ in expected])
    assert [metrics["val/mse"] for metrics in found] == pytest.approx([mse for _, mse in expected])
    assert list(found[-1]) == ["train/loss", "val/mse", "test/mse"]
    torch.testing.assert_close(run.state()["state"]["model"], dict(network.state_dict()))


def test_epochs_between_two_evaluations_make_a_round():
    class Slow(Line):
        @property
        def epochs_per_round(self):
            return 2

    often, seldom = (list(kind(epochs=5, learning_rate=0.05).train(Run(DATA))) for kind in (Line, Slow))
    assert Slow(epochs=5).rounds == 3
    assert seldom == [often[1], often[3], often[4]]


def test_a_network_resumes_its_parts_and_shows_its_diagnostics():
    class Counting(Line):
        def build_parts(self, run):
            return {"counts": {"steps": 0}}

        def step(self, model, optimizer, batch, weights, run):
            run.part("counts")["steps"] += 1
            return super().step(model, optimizer, batch, weights, run)

        def diagnostics(self, network):
            return {"bias": network[0].bias.item()}

    method = Counting(epochs=2, batch_size=25)
    run = Run(DATA, test=True)
    whole = list(method.train(run))
    assert list(whole[-1]) == ["train/loss", "val/mse", "bias", "test/mse"]
    assert sorted(run.state()["state"]) == ["counts", "model", "optimizer"]
    assert run.part("counts") == {"steps": 4}
    first = Run(DATA, test=True)
    next(method.train(first))
    resumed = Run(DATA, test=True, checkpoint=first.state())
    assert list(method.train(resumed)) == whole[1:]
    assert resumed.part("counts") == {"steps": 4}


def test_mixed_precision_is_a_setting_of_those_trainings_that_take_it():
    class Mixed(MixedPrecisionMethod, Line):
        pass

    plain, single, half = (list(method.train(Run(DATA))) for method in (Line(), Mixed(), Mixed(mixed_precision=True)))
    assert plain == single
    assert half != single
    assert half[-1]["val/mse"] == pytest.approx(single[-1]["val/mse"], rel=0.1)
    assert "mixed_precision" not in Line.model_fields


def test_steps_are_counted_through_the_rounds():
    class Steps(StepMethod):
        def train(self, run):
            run.restore()
            for number in run.rounds(self.rounds):
                yield {"val/last": float(self.steps(number)[-1])}

    assert [metrics["val/last"] for metrics in Steps(iterations=10, report_every=4).train(Run(DATA))] == [4.0, 8.0, 10.0]


def test_an_estimator_has_one_round_and_is_done_when_it_is_resumed():
    class Mean(Estimator):
        def fit_and_judge(self, run):
            mean = run.data.train.tensors[1].mean()
            return run.judge(lambda split: {"mse": (split.tensors[1] - mean).square().mean().item()})

    run = Run(DATA, test=True)
    (metrics,) = Mean().train(run)
    assert list(metrics) == ["val/mse", "test/mse"]
    assert list(Mean().train(Run(DATA, test=True, checkpoint=run.state()))) == []
