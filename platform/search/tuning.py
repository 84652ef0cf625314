"""Tuning: which configuration of a study is trained next, and what its sampler learns from how that ended."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from regbench.methods.errors import ConfigError, StorageError
from regbench.platform.records.records import Records, Trial
from regbench.platform.search.samplers import ask, restarted_cmaes, sampler_for
from regbench.platform.search.study_state import StudyState
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite

optuna.logging.set_verbosity(optuna.logging.WARNING)
STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "refused": TrialState.PRUNED,
}
# What Optuna calls a constraint: above 0 where a method refuses a point.
REFUSED = "refused"
# Draws of a finite space until one is new: by the sampler, then at random.
SAMPLED, RANDOM = 10, 200


class Tuning:
    """Draws the tuning trials of a suite's studies, an Optuna study for each.

    Args:
        suite: names the sampler.
        records: where trials are planned, and refused draws recorded.
    """

    def __init__(self, suite: Suite, records: Records) -> None:
        self.suite = suite
        self.records = records

    def state(self, study: Study) -> StudyState:
        """A study of which nothing has been drawn."""
        directions = ["maximize" if metric.mode == "max" else "minimize" for metric in study.objectives]
        return StudyState(study, optuna.create_study(directions=directions, sampler=self._sampler(study, 0)), self.suite.choose)

    def _sampler(self, study: Study, number: int, attempt: int = 0, *, at_random: bool = False) -> optuna.samplers.BaseSampler:
        """The sampler for a study's trial, seeded by its number: a resumed sweep neither repeats nor shifts suggestions."""
        drawn = f"{study.seed}/{study.name}/{number}" + (f"/{attempt}" if attempt else "")
        seed = int.from_bytes(hashlib.sha256(drawn.encode()).digest()[:4], "little")
        return sampler_for(self.suite, study.space, seed, at_random=at_random)

    def replay(self, state: StudyState, trial: Trial, row: dict[str, Any] | None) -> None:
        """Tells a study of a trial that was drawn before a resume.

        Args:
            state: of the study.
            trial: the trial.
            row: of a trial that has ended.

        Raises:
            StorageError: it has values that the study does not search.
        """
        status = TrialState.RUNNING if row is None else STATES[row["status"]]
        values = row["values"] if row and status == TrialState.COMPLETE else None
        intermediate = {row["rounds"]: row["values"][0]} if row and status == TrialState.PRUNED and row["values"] else None
        searched = trial.searched if row is None else json.loads(row["searched"])
        try:
            past = create_trial(
                state=status,
                values=values,
                params=searched,
                distributions={name: state.study.space[name] for name in searched},
                intermediate_values=intermediate,
            )
            state.drawn[trial.number] = _canonical(state.study, searched)
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"trial {trial.key} in {self.records.storage.uri} has values that its study does not search ({error}): delete "
                "its files in trials/ and records/trials/, and it is planned anew"
            ) from None
        if row and row["status"] == "refused":
            self._constrain(past)
        state.optuna.add_trial(past)
        state.numbers[trial.key] = len(state.optuna.get_trials(deepcopy=False)) - 1

    def restart(self, state: StudyState) -> None:
        """CMA-ES keeps its covariance outside the records: after a resume it starts again from the best point found."""
        if self.suite.sampler.name != "cmaes" or not state.drawn or (best := state.best()) is None:
            return
        trial = next(trial for trial in self.records.planned() if trial.key == best["key"])
        numeric = {name: value for name, value in trial.searched.items() if isinstance(value, int | float)}
        state.optuna.sampler = restarted_cmaes(state.study.space, state.study.seed, numeric)

    def ask(self, state: StudyState) -> Trial | None:
        """Draws a study's next trial and plans it; None where the method refuses what was drawn."""
        study, number = state.study, state.next_number
        asked = self._draw(state, number)
        state.drawn[number] = _canonical(state.study, asked.params)
        try:
            trial = study.trial("tune", number, study.seed, asked.params)
        except ConfigError as error:
            self._refuse(state, study.refused(number, asked.params), asked, str(error))
            return None
        state.numbers[trial.key] = asked.number
        self.records.plan(trial)
        return trial

    def _draw(self, state: StudyState, number: int) -> optuna.Trial:
        study, sampler = state.study, self.suite.sampler.name
        finite = self.suite.scheduler.name != "pbt" and math.isfinite(study.space.size)
        if sampler == "grid":
            points = study.space.grid(self.suite.sampler.points)
            state.optuna.enqueue_trial(points[number % len(points)])
        elif finite and study.space.size <= study.trials:
            # A sampler would train some points again, number for number, and leave others out.
            state.optuna.enqueue_trial(first_ones_first(study)[number % study.trials])
        elif number < len(first := study.first_points()):
            state.optuna.enqueue_trial(first[number])
        elif finite:
            return self._draw_new(state, number)
        return self._sample(state, self._sampler(study, number))

    def _sample(self, state: StudyState, sampler: optuna.samplers.BaseSampler) -> optuna.Trial:
        if self.suite.sampler.name not in ("cmaes", "nsga2"):
            state.optuna.sampler = sampler
        return ask(state.optuna, state.study.space)

    def _draw_new(self, state: StudyState, number: int) -> optuna.Trial:
        """A point of a finite space that no trial has had: training one again would give the same numbers."""
        seen = set(state.drawn.values())
        for attempt in range(SAMPLED + RANDOM):
            asked = self._sample(state, self._sampler(state.study, number, attempt, at_random=attempt >= SAMPLED))
            if _canonical(state.study, asked.params) not in seen:
                return asked
            state.optuna.tell(asked.number, state=TrialState.FAIL)
        state.optuna.enqueue_trial(
            next(point for point in state.study.space.all_points() if _canonical(state.study, point) not in seen)
        )
        return self._sample(state, self._sampler(state.study, number))

    def _refuse(self, state: StudyState, trial: Trial, asked: optuna.Trial, reason: str) -> None:
        """Records a draw that the method refuses, and tells the sampler to keep away from there."""
        self.records.plan(trial)
        state.end(self.records.finish(trial, "refused", reason))
        self._constrain(asked)
        state.optuna.tell(asked.number, state=TrialState.PRUNED)

    def _constrain(self, refused: optuna.Trial | optuna.trial.FrozenTrial) -> None:
        """Tells the one sampler that takes it into account that a point cannot be."""
        if self.suite.sampler.name == "tpe":
            refused.set_constraint(REFUSED, 1.0)

    def tell(self, state: StudyState, key: str, row: dict[str, Any]) -> None:
        """Tells a study how a trial that was drawn has ended."""
        number, status = state.numbers[key], STATES[row["status"]]
        if status == TrialState.COMPLETE and not all(map(math.isfinite, row["values"])):
            status = TrialState.FAIL
        if status == TrialState.PRUNED and row["values"] and len(state.study.objectives) == 1:
            running = state.optuna._storage
            trial_id = running.get_trial_id_from_study_id_trial_number(state.optuna._study_id, number)
            running.set_trial_intermediate_value(trial_id, row["rounds"], row["values"][0])
        state.optuna.tell(number, row["values"] if status == TrialState.COMPLETE else None, state=status)


def _canonical(study: Study, searched: Mapping[str, Any]) -> str:
    """A point as text, the same for equal points, whose numbers may differ by a rounding."""
    point = {name: study.space.settled(name, value) for name, value in searched.items()}
    return json.dumps(point, sort_keys=True, default=str)


def first_ones_first(study: Study) -> list[dict[str, Any]]:
    """Every point of a study's finite space, those with which it begins first."""
    first = study.first_points()
    return sorted(study.space.all_points(), key=lambda point: first.index(point) if point in first else len(first))
