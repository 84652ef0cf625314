"""Problems that are solved one by one: which ones a run draws, and the means over them."""

import pytest
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.problems import ProblemMethod

POOLS = [TensorDataset(torch.arange(first, first + 20)) for first in (0, 100, 200)]
DATA = Data("numbers", *POOLS)


class Number(ProblemMethod):
    """A problem is a number, and solved by naming it."""

    def judge(self, pool, index, run):
        return {"number": float(pool.tensors[0][index])}

    def train(self, run):
        drawn, totals = self.draw(run), {}
        run.restore(totals=totals)
        yield from self.solve_all(drawn, totals, run)


def test_rounds_are_means_over_the_problems_so_far_and_test_is_that_over_all():
    method, run = Number(problems=4), Run(DATA, test=True)
    drawn = method.draw(Run(DATA))
    found = list(method.train(run))
    means = [sum(100 + index for index in drawn.validation[: number + 1]) / (number + 1) for number in range(4)]
    assert [metrics["val/number"] for metrics in found] == pytest.approx(means)
    assert ["test/number" in metrics for metrics in found] == [False, False, False, True]
    assert found[-1]["test/number"] == pytest.approx(sum(200 + index for index in drawn.test) / 4)


def test_a_seed_draws_distinct_problems_and_another_one_others():
    drawn = [Number(problems=10).draw(Run(DATA, seed=seed)) for seed in (0, 0, 1)]
    assert len(set(drawn[0].validation)) == len(set(drawn[0].test)) == 10
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_resumed_run_goes_on_with_its_own_problems():
    method = Number(problems=3)
    first = Run(DATA, test=True)
    whole = list(method.train(Run(DATA, test=True)))
    started = next(method.train(first))
    assert [started, *method.train(Run(DATA, test=True, checkpoint=first.state()))] == whole


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(ConfigError, match="numbers holds 20 validation problems: set problems to at most 20"):
        next(Number(problems=21).train(Run(DATA)))
