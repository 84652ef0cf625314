"""How far one study has come."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import optuna

from regbench.platform.records.choice import chosen_trial, contenders
from regbench.platform.records.records import Trial
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Choose


@dataclass
class StudyState:
    """One study while it runs: its Optuna study, and which of its trials wait, run or have ended.

    Attributes:
        study: what is searched.
        optuna: what has been drawn and what it led to, for the sampler.
        choose: the stage between tuning and confirmation; None: the best trial is chosen.
        numbers: Optuna's number of each tuning trial, by key.
        ended: rows of the trials that have ended, by key; refused draws, which are no trials, are not among them.
        refusals: rows of the draws that the method refused.
        checkpoints: keys of ended trials whose checkpoint may still be there.
        drawn: the searched values of each tuning trial, refused draws included, by its number.
        begun: trials of the stages after tuning that have been handed out, or were before a resume.
        tuned_trials: how many tuning trials have ended.
    """

    study: Study
    optuna: optuna.Study
    choose: Choose | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: set[str] = field(default_factory=set)
    drawn: dict[int, str] = field(default_factory=dict)
    begun: list[Trial] = field(default_factory=list)
    tuned_trials: int = 0
    _chosen: tuple[int, dict[str, Any] | None] | None = None

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

    def contenders(self) -> list[dict[str, Any]]:
        """The rows of the tuning trials among which is chosen, the best first."""
        return contenders(self.ended.values(), self.choose.top if self.choose else 1)

    def best(self) -> dict[str, Any] | None:
        """The row of the best fully trained tuning trial, by the first objective; None when there is none."""
        return next(iter(self.contenders()), None)

    def chosen(self) -> dict[str, Any] | None:
        """The row of the tuning trial whose configuration is confirmed, as far as is known; None when there is none."""
        if self._chosen is None or self._chosen[0] != len(self.ended):
            choose = self.choose.model_dump() if self.choose else None
            self._chosen = len(self.ended), chosen_trial(self.ended.values(), choose)
        return self._chosen[1]

    def stage(self, stage: str) -> list[dict[str, Any]]:
        """The rows of its trials of a stage that have ended."""
        return [row for row in self.ended.values() if row["stage"] == stage]

    def end(self, row: dict[str, Any]) -> None:
        """Takes in the row of a trial that has ended, whose checkpoint may still be there."""
        if row["status"] == "refused":
            self.refusals.append(row)
            return
        self.ended[row["key"]] = row
        self.checkpoints.add(row["key"])
        if row["stage"] == "tune":
            self.tuned_trials += 1
