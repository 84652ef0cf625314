"""What a training costs is what happens between its optimizer's steps, whatever its evaluation does."""

import time

import pytest
import torch

from regbench.methods.classification.cross_entropy import CrossEntropy
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.execution.training_cost import training_seconds


def burn(seconds: float) -> None:
    """Keeps the processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Slow(CrossEntropy):
    """Takes 10 ms longer for each batch, and 300 ms, with an optimizer of its own, for each evaluation."""

    def objective(self, model, batch, weights):
        burn(0.01)
        return super().objective(model, batch, weights)

    def evaluate(self, model, split, run):
        attack = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        for _ in range(3):
            burn(0.1)
            attack.step()
        return super().evaluate(model, split, run)


def test_batches_count_and_evaluations_do_not():
    settings = {"epochs": 2, "batch_size": 10}
    run = Run("digits_small")
    steps = 2 * len(run.data.train) // 10
    plain = training_seconds(create("cross_entropy", settings), run)
    slow = training_seconds(Slow(**settings), Run("digits_small"))
    assert slow - plain == pytest.approx(0.01 * steps, rel=0.3)


def test_without_an_optimizer_all_counts():
    began = time.process_time()
    seconds = training_seconds(create("sinkhorn", {"problems": 2}), Run("gaussian_clouds"))
    assert 0 < seconds <= time.process_time() - began


def test_the_hook_goes_with_the_training():
    from torch.optim.optimizer import _global_optimizer_post_hooks as hooks

    before = dict(hooks)
    with pytest.raises(ZeroDivisionError):
        training_seconds(Broken(epochs=1), Run("digits_small"))
    assert dict(hooks) == before


class Broken(CrossEntropy):
    """Fails."""

    def objective(self, model, batch, weights):
        raise ZeroDivisionError
