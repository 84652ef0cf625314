"""Tracks in which nothing is trained: a run draws a few problems from a data set, and each is solved by itself."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metrics, hyperparameter
from regbench.methods.run import Run, prefixed


@dataclass(frozen=True)
class Drawn:
    """The problems of a run, by their numbers in the pools: the data set's validation and test splits."""

    validation: list[int]
    test: list[int]


class ProblemMethod(Method):
    """Solves one validation problem a round and yields the means over the problems solved so far.

    There is no training data. A run's seed draws its problems from the data set's pools, so that two methods with the same seed
    solve the same problems, and fresh seeds mean fresh problems. A scheduler that stops a configuration early spares it the
    remaining problems. Several workers solve the same problems.

    A track writes ``judge``, and in its ``train`` hands to ``run.restore`` the totals that ``solve_all`` sums up.
    """

    problems: int = hyperparameter(5, ge=1, help="problems that are drawn and solved, in validation and again in test")

    @property
    def rounds(self) -> int:
        """One metrics mapping per validation problem."""
        return self.problems

    @abstractmethod
    def judge(self, pool: TensorDataset, index: int, run: Run) -> Metrics:
        """Solves one problem of a pool; returns its metrics, names without a prefix."""

    def draw(self, run: Run) -> Drawn:
        """The run's problems; to be called before ``run.restore`` sets the generators to where they stood after drawing.

        Raises:
            ConfigError: a pool holds fewer.
        """
        return Drawn(self._draw(run.data.validation, "validation", run), self._draw(run.data.test, "test", run))

    def _draw(self, pool: TensorDataset, split: str, run: Run) -> list[int]:
        if self.problems > len(pool):
            raise ConfigError(f"{run.data.name} holds {len(pool)} {split} problems: set problems to at most {len(pool)}")
        generator = run.generator(f"{split} problems", shared=True)
        return torch.randperm(len(pool), generator=generator)[: self.problems].tolist()

    def solve_all(self, drawn: Drawn, totals: dict[str, float], run: Run) -> Iterator[Metrics]:
        """Solves the problems; the last round of a run with ``run.test`` solves the test problems too.

        Args:
            drawn: the problems.
            totals: sums of the metrics over the validation problems solved so far; changed in place.
            run: the run.
        """
        for number in run.rounds(self.problems):
            _add(totals, self.judge(run.data.validation, drawn.validation[number - 1], run))
            metrics = {name: total / number for name, total in totals.items()}
            yield prefixed("val", metrics) | run.judge_test(lambda pool: self._means(pool, drawn.test, run))

    def _means(self, pool: TensorDataset, indices: list[int], run: Run) -> Metrics:
        totals: dict[str, float] = {}
        for index in indices:
            _add(totals, self.judge(pool, index, run))
        return {name: total / len(indices) for name, total in totals.items()}


def _add(totals: dict[str, float], values: Metrics) -> None:
    for name, value in values.items():
        totals[name] = totals.get(name, 0.0) + value
