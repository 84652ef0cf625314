"""Every method keeps every clause of the contract, and every clause catches a method that breaks it."""

import io
import itertools
import os
import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from regbench.methods import contract
from regbench.methods.classification.label_smoothing import LabelSmoothing
from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.contract import CLAUSES, NotApplicable, distributed
from regbench.methods.errors import ContractError
from regbench.methods.method import Method, Paper, hyperparameter, weight
from regbench.methods.registry import all_methods
from regbench.platform.check import check


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("method", all_methods().values(), ids=all_methods().keys())
def test_every_method_keeps(method, clause):
    try:
        clause(method)
    except NotApplicable as nothing:
        pytest.skip(str(nothing))


def test_two_workers_train_one_model():
    distributed(*all_methods().values())


class Undescribed(ClassificationMethod):
    __doc__ = None
    paper: ClassVar[Paper | None] = None


class Misquoted(ClassificationMethod):
    """Its arXiv identifier is an address."""

    paper: ClassVar[Paper | None] = Paper("Title", "Authors", 2020, "Venue", "https://arxiv.org/abs/2006.12000")


class Refused(ClassificationMethod):
    """Its off value is out of range."""

    paper: ClassVar[Paper | None] = None
    strength: float = weight(1.0, off=0.0, gt=0, symbol="w", differentiable=False, help="strength")


class NotJson(ClassificationMethod):
    """A set is no JSON."""

    paper: ClassVar[Paper | None] = None
    layers: set[int] = hyperparameter({1, 2}, help="layers")


class Remembers(ClassificationMethod):
    """Keeps the network on itself."""

    paper: ClassVar[Paper | None] = None

    def build_model(self, data: Any) -> nn.Module:
        self.__dict__["network"] = super().build_model(data)
        return self.network


class NumpyMetrics(ClassificationMethod):
    """Yields NumPy's floats."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        for metrics in super().train(run):
            yield metrics | {"val/nll": np.float64(metrics["val/nll"])}


class Diverges(ClassificationMethod):
    """Yields what is not finite."""

    paper: ClassVar[Paper | None] = None

    def diagnostics(self, model: nn.Module) -> dict[str, float]:
        return {"norm": float("inf")}


class Incomplete(ClassificationMethod):
    """Leaves a metric of its track out."""

    paper: ClassVar[Paper | None] = None

    def evaluate(self, model: nn.Module, split: Any, run: Any) -> dict[str, float]:
        return {"accuracy": super().evaluate(model, split, run)["accuracy"]}


class Short(ClassificationMethod):
    """Promises a round too many."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        return itertools.islice(super().train(run), self.rounds - 1)


class Peeks(ClassificationMethod):
    """Evaluates the test split in every round."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        for metrics in super().train(run):
            yield metrics | {"test/accuracy": metrics["val/accuracy"]}


class TestDisturbs(ClassificationMethod):
    """Reports another accuracy on validation data where it is tested."""

    __test__ = False
    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        for metrics in super().train(run):
            yield metrics | {"val/nll": metrics["val/nll"] + run.test}


class Unseeded(ClassificationMethod):
    """Draws from nobody's generator."""

    paper: ClassVar[Paper | None] = None

    def diagnostics(self, model: nn.Module) -> dict[str, float]:
        return {"noise": float(np.random.default_rng().normal())}


class OneSeed(ClassificationMethod):
    """Trains on the same random numbers whatever the seed."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        run.seed = 0
        torch.manual_seed(0)
        yield from super().train(run)


class Forgets(ClassificationMethod):
    """Its running sum is not part of the run's state."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        total = 0.0
        for metrics in super().train(run):
            total += metrics["train/loss"]
            yield metrics | {"train/total": total}


class Pickles(ClassificationMethod):
    """Puts an object of its own into its state."""

    paper: ClassVar[Paper | None] = None

    def build_memory(self, data: Any) -> nn.Module:
        class Memory(nn.Module):
            def get_extra_state(self) -> Any:
                return Method

            def set_extra_state(self, state: Any) -> None:
                pass

        return Memory()


class StartsFrom(ClassificationMethod):
    """Its smoothing is in the model's state, where it stays what training began with."""

    paper: ClassVar[Paper | None] = None
    smoothing: float = weight(0.1, off=0.0, ge=0, le=1, symbol="s", differentiable=False, help="smoothing")

    def build_parts(self, run: Any) -> Any:
        return {"begun": {"smoothing": self.smoothing}}

    def step(self, model: Any, optimizer: Any, batch: Any, weights: Any, run: Any) -> Any:
        weights.smoothing = run.part("begun")["smoothing"]
        return super().step(model, optimizer, batch, weights, run)

    def objective(self, model: Any, batch: Any, weights: Any) -> Any:
        loss, logits = super().objective(model, batch, weights)
        return loss + weights.smoothing * logits.square().mean(), logits


class Reshapes(ClassificationMethod):
    """Would let the width of its memory change."""

    paper: ClassVar[Paper | None] = None
    width: int = hyperparameter(3, ge=1, may_change=True, help="width")

    def build_parts(self, run: Any) -> Any:
        return {"memory": nn.Linear(self.width, 1)}


class Lengthens(ClassificationMethod):
    """Would let its length change."""

    paper: ClassVar[Paper | None] = None
    epochs: int = hyperparameter(30, ge=1, may_change=True, help="epochs")


class PythonRandom(ClassificationMethod):
    """Draws from Python's generator."""

    paper: ClassVar[Paper | None] = None

    def diagnostics(self, model: nn.Module) -> dict[str, float]:
        random.random()
        return {}


class NumpyRandom(ClassificationMethod):
    """Draws from NumPy's global generator."""

    paper: ClassVar[Paper | None] = None

    def diagnostics(self, model: nn.Module) -> dict[str, float]:
        np.random.rand()
        return {}


class YieldsWithoutGradients(ClassificationMethod):
    """Suspends itself inside ``no_grad``, which then holds for its caller."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        for metrics in super().train(run):
            with torch.no_grad():
                yield metrics


class SetsEnvironment(ClassificationMethod):
    """Sets an environment variable, another one each time."""

    paper: ClassVar[Paper | None] = None

    def diagnostics(self, model: nn.Module) -> dict[str, float]:
        os.environ["REGBENCH_TEST_TRACE"] = str(len(os.environ.get("REGBENCH_TEST_TRACE", "")) * "x" + "x")
        return {}


class Touches(ClassificationMethod):
    """Who looks at its representation moves its network."""

    paper: ClassVar[Paper | None] = None

    def hidden(self, run: Any, count: int) -> Any:
        for parameter in run.network.parameters():
            parameter.data.add_(0.01)
        return super().hidden(run, count)


class StaysOn(LabelSmoothing):
    """Smooths a little more than its weight says."""

    paper: ClassVar[Paper | None] = None

    def objective(self, model: Any, batch: Any, weights: Any) -> Any:
        weights.smoothing = weights.smoothing + 1e-6
        return super().objective(model, batch, weights)


class NeverOff(LabelSmoothing):
    """Its baseline is itself."""

    paper: ClassVar[Paper | None] = None

    def baseline(self) -> "NeverOff":
        return self


class Detached(LabelSmoothing):
    """Takes the number out of the tensor."""

    paper: ClassVar[Paper | None] = None

    def objective(self, model: Any, batch: Any, weights: Any) -> Any:
        weights.smoothing = torch.as_tensor(weights.smoothing).detach()
        return super().objective(model, batch, weights)


class Rounded(LabelSmoothing):
    """Has the gradient of another function: straight through a step."""

    paper: ClassVar[Paper | None] = None

    def objective(self, model: Any, batch: Any, weights: Any) -> Any:
        smooth = torch.as_tensor(weights.smoothing)
        weights.smoothing = smooth + (smooth.round() - smooth).detach()
        return super().objective(model, batch, weights)


class Leaks(LabelSmoothing):
    """A branch of `where` that is not taken has no derivative."""

    paper: ClassVar[Paper | None] = None

    def objective(self, model: Any, batch: Any, weights: Any) -> Any:
        loss, logits = super().objective(model, batch, weights)
        return loss + torch.where(logits > 0, logits.sqrt(), 0.0).mean(), logits


class Cancels(LabelSmoothing):
    """A variance as the difference of large squares: in single precision nothing of it is left."""

    paper: ClassVar[Paper | None] = None

    def objective(self, model: Any, batch: Any, weights: Any) -> Any:
        loss, logits = super().objective(model, batch, weights)
        large = logits + 1e4
        return loss + weights.smoothing * (large.square().mean() - large.mean().square()), logits


class Private(ClassificationMethod):
    """Each worker trains a model of its own."""

    paper: ClassVar[Paper | None] = None

    def train(self, run: Any) -> Any:
        run.prepare = lambda model, **options: model
        return super().train(run)


BROKEN = {
    "described": [Undescribed, Misquoted, Refused],
    "recordable": [NotJson],
    "frozen": [Remembers],
    "reports": [NumpyMetrics, Diverges, Incomplete, Short],
    "tests_last": [Peeks, TestDisturbs],
    "repeats": [Unseeded],
    "follows_seed": [OneSeed],
    "resumes": [Forgets, Pickles],
    "goes_on_changed": [StartsFrom, Reshapes, Lengthens],
    "is_watched": [Touches],
    "leaves_no_trace": [PythonRandom, NumpyRandom, YieldsWithoutGradients, SetsEnvironment],
    "off": [StaysOn, NeverOff],
    "differentiable": [Detached, Rounded],
    "stable": [Leaks, Cancels],
}


@pytest.mark.parametrize(
    ("clause", "method"), [pytest.param(c, m, id=f"{c}-{m.__name__}") for c, methods in BROKEN.items() for m in methods]
)
def test_a_clause_catches(clause, method):
    with pytest.raises(ContractError) as caught:
        getattr(contract, clause)(method)
    assert "\n" not in str(caught.value)


def test_each_clause_but_that_of_gpus_has_a_method_that_breaks_it():
    assert {clause.__name__ for clause in CLAUSES} - set(BROKEN) == {"runs_on_gpu"}


def test_check_prints_a_line_for_each_clause_and_says_what_broke():
    console = Console(record=True, file=io.StringIO())
    assert not check([Private], console)
    lines = console.export_text().splitlines()
    assert sum(line.startswith(("  ok", "  - ")) for line in lines) == len(CLAUSES)
    assert [line.strip().split()[0] for line in lines[-2:]] == ["broken", "test_contract:"]
    assert "worker 1 has another model than worker 0: val/" in lines[-1]
