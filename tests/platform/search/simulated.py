"""Drives a real search over real records without training anything: what a trial reports is a function of it."""

import random
from collections.abc import Callable
from pathlib import Path

from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.search.search import Search
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import parse_suite

Value = Callable[[Trial], float]


class Simulated:
    """A sweep whose trials report ``value`` as their accuracy, on validation and test data alike.

    Args:
        folder: where its records are.
        value: of a trial; nan lets it fail.
        workers: how many trials run side by side; which of them ends first is drawn from ``order``.
        order: seed of that.
        **suite: keys of the suite.
    """

    def __init__(self, folder: Path, value: Value, *, workers: int = 2, order: int = 0, **suite: object) -> None:
        self.suite = parse_suite({"name": "sweep", "data": ["digits"], "sampler": "random", "trials": 3} | suite)
        self.studies = studies(self.suite)
        self.records = Records(Storage(folder))
        self.value, self.workers, self.random = value, workers, random.Random(order)
        self.search = Search(self.suite, self.studies, self.records)
        self.handed: list[Trial] = []

    def run(self, most: int | None = None) -> "Simulated":
        """Runs to the end, or until so many trials have been handed out, as if the process were killed then."""
        running: list[Trial] = []
        while most is None or len(self.handed) < most:
            while len(running) < self.workers and (trial := self.search.next()) is not None:
                running.append(trial)
                self.handed.append(trial)
            if not running:
                assert self.search.done
                break
            self.end(running.pop(self.random.randrange(len(running))))
        return self

    def end(self, trial: Trial) -> None:
        """A trial that has been handed out reports and ends."""
        value = self.value(trial)
        if value != value:
            self.search.finish(trial.key, "failed", "diverged")
            return
        log = self.records.start_attempt(trial.key)
        test = {"test/accuracy": value} if trial.stage in ("confirm", "ablate") else {}
        log.report(Report(trial.planned_rounds, 1.7e9, 1.0, {"val/accuracy": value} | test))
        self.search.finish(trial.key, "completed")

    def resumed(self, order: int = 0) -> "Simulated":
        """The same sweep in a new process."""
        again = object.__new__(Simulated)
        again.__dict__ |= self.__dict__ | {"random": random.Random(order), "handed": []}
        again.search = Search(self.suite, self.studies, self.records)
        return again

    def ended(self, stage: str | None = None) -> list[dict]:
        """The rows of the trials that have ended."""
        return [row for row in self.records.trials().to_pylist() if stage in (None, row["stage"])]
