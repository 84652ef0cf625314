"""How far one study has come."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import optuna

from regbench.platform.records.choice import rank
from regbench.platform.records.records import Trial
from regbench.platform.suite.plan import Study


@dataclass
class StudyState:
    """One study while it runs: its Optuna study, and which of its trials wait, run or have ended.

    Attributes:
        study: what is searched.
        optuna: what has been drawn and what it led to, for the sampler.
        numbers: Optuna's number of each tuning trial, by key.
        ended: rows of the trials that have ended, by key; refused draws, which are no trials, are not among them.
        refusals: rows of the draws that the method refused.
        checkpoints: keys of ended trials whose checkpoint may still be there.
        drawn: the searched values of each tuning trial, refused draws included, by its number.
        tuned_trials: how many tuning trials have ended.
        confirmation: what is still to be confirmed; None before that is known.
    """

    study: Study
    optuna: optuna.Study
    numbers: dict[str, int] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: set[str] = field(default_factory=set)
    drawn: dict[int, str] = field(default_factory=dict)
    confirmation: list[Trial] | None = None
    tuned_trials: int = 0
    _best: dict[str, Any] | None = None

    @property
    def trials(self) -> int:
        """How many tuning trials have begun or ended."""
        return len(self.drawn) - len(self.refusals)

    @property
    def wants_trials(self) -> bool:
        """Whether a further tuning trial is to be drawn."""
        return self.trials < self.study.trials and len(self.drawn) < self.study.draws

    @property
    def next_number(self) -> int:
        """The first number that no tuning trial has: of a resumed sweep, one whose specification was lost."""
        return next(number for number in itertools.count() if number not in self.drawn)

    @property
    def tuned(self) -> bool:
        """Whether every tuning trial has ended."""
        return not self.wants_trials and self.tuned_trials == self.trials

    def best(self) -> dict[str, Any] | None:
        """The row of the best fully trained tuning trial, by the first objective; None when there is none."""
        return self._best

    def end(self, row: dict[str, Any]) -> None:
        """Takes in the row of a trial that has ended, whose checkpoint may still be there."""
        if row["status"] == "refused":
            self.refusals.append(row)
            return
        self.ended[row["key"]] = row
        self.checkpoints.add(row["key"])
        if row["stage"] == "tune":
            self.tuned_trials += 1
            if row["status"] == "completed" and (self._best is None or rank(row) > rank(self._best)):
                self._best = row
