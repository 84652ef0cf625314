"""What to train next: an Optuna study for each (entry, data set), and the confirmation stage when a study is done.

Knows nothing of how trials run: `Search.next` hands out a trial, `Search.finish` takes back how it ended.
"""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from regbench.methods.errors import ConfigError, RegbenchError, StorageError, SurroundingsError
from regbench.platform.records.choice import confirming
from regbench.platform.records.records import Records, Stage, Status, Trial
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


class Search:
    """Hands out the trials of a suite and learns from how they end.

    Args:
        suite: the suite.
        studies: its studies.
        records: where trials are planned; on a resumed sweep also what is already there.
        give_up: whether a trial that its surroundings keep from running counts as failed, in place of stopping the sweep.

    A resumed sweep is this class on the same records: what has ended is told to the studies again, what had started is
    handed out first.
    """

    def __init__(self, suite: Suite, studies: list[Study], records: Records, *, give_up: bool = False) -> None:
        self.suite = suite
        self.records = records
        self._give_up = give_up
        self._deadline = math.inf
        self.states = {study.name: StudyState(study, self._optuna_study(study)) for study in studies}
        self.running: dict[str, Trial] = {}
        self._interrupted: list[Trial] = []
        self._after_tuning: list[Trial] = []
        self._replay()

    def limit(self, hours: float | None) -> None:
        """From now on there are so many hours for tuning; None: no limit."""
        self._deadline = math.inf if hours is None else time.monotonic() + 3600 * hours

    @property
    def late(self) -> bool:
        """Whether the time for tuning is up: trials that are being tuned are set aside, and what is there is confirmed."""
        return time.monotonic() > self._deadline

    def _optuna_study(self, study: Study) -> optuna.Study:
        directions = ["maximize" if metric.mode == "max" else "minimize" for metric in study.objectives]
        return optuna.create_study(directions=directions, sampler=self._sampler(study, 0))

    def _sampler(self, study: Study, number: int, attempt: int = 0, *, at_random: bool = False) -> optuna.samplers.BaseSampler:
        """The sampler for a study's trial, seeded by its number: a resumed sweep neither repeats nor shifts suggestions."""
        drawn = f"{study.seed}/{study.name}/{number}" + (f"/{attempt}" if attempt else "")
        seed = int.from_bytes(hashlib.sha256(drawn.encode()).digest()[:4], "little")
        return sampler_for(self.suite, study.space, seed, at_random=at_random)

    def _replay(self) -> None:
        rows = {row["key"]: row for row in self.records.trials().to_pylist()}
        for trial in sorted(self.records.planned(), key=lambda trial: (trial.study, trial.stage != "tune", trial.number)):
            state = self.states.get(trial.study)
            if state is None:
                raise ConfigError(f"the records hold trial {trial.key}, which the suite does not have; use another sweep name")
            row = rows.get(trial.key)
            if row is None and not trial.planned_rounds:
                # A refused draw whose record a crash has lost: it is drawn again.
                continue
            if trial.stage == "tune":
                self._add_past(state, trial, row)
            else:
                self._after_tuning.append(trial)
            if row is None:
                self._interrupted.append(trial)
            else:
                state.end(row)
        for state in self.states.values():
            if state.drawn and self.suite.sampler.name == "cmaes" and (best := state.best()):
                self._restart_cmaes(state, best)

    def _add_past(self, state: StudyState, trial: Trial, row: dict[str, Any] | None) -> None:
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

    def _restart_cmaes(self, state: StudyState, best: dict[str, Any]) -> None:
        """CMA-ES keeps its covariance outside the records: after a resume it starts again from the best point found."""
        trial = next(trial for trial in self.records.planned() if trial.key == best["key"])
        numeric = {name: value for name, value in trial.searched.items() if isinstance(value, int | float)}
        state.optuna.sampler = restarted_cmaes(state.study.space, state.study.seed, numeric)

    @property
    def total(self) -> int:
        """How many trials the sweep has in all (an upper bound while studies may still fail)."""
        return sum(
            (state.study.trials if state.wants_trials else state.trials)
            + self.suite.confirm.seeds * (2 if self._ablated(state.study) else 1)
            for state in self.states.values()
        )

    def _ablated(self, study: Study) -> bool:
        return self.suite.confirm.ablate and bool(study.method.weights())

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return not self.running and not self._unfinished() and all(self.exhausted(state) for state in self.states.values())

    def _unfinished(self) -> list[Trial]:
        """What was interrupted and is to be trained now: when the time for tuning is up, confirmations only."""
        late = self.late
        return [trial for trial in self._interrupted if not (late and trial.stage == "tune")]

    def exhausted(self, state: StudyState) -> bool:
        """Whether nothing of a study is still to be handed out."""
        return self._settled(state) and not self._confirmation(state)

    def _settled(self, state: StudyState) -> bool:
        """Whether a study's choice can be confirmed: its tuning has ended, or the time for it is up."""
        tuning = (trial for trial in self.running.values() if trial.stage == "tune" and trial.study == state.study.name)
        return state.tuned or (self.late and not any(tuning))

    def unconfirmed(self, state: StudyState) -> bool:
        """Whether a study has been confirmed on all of its seeds, and on none with success."""
        best = state.best()
        if best is None or not self.suite.confirm.seeds or not self.exhausted(state):
            return False
        confirmed = [row for row in confirming(state.ended.values(), best) if row["stage"] == "confirm"]
        return all(row["status"] != "completed" for row in confirmed)

    def next(self) -> Trial | None:
        """A trial to start now, planned in the records; None while nothing can start before something ends.

        Interrupted trials come first, then the study with the fewest trials so far, then confirmations.
        """
        if unfinished := self._unfinished():
            trial: Trial | None = unfinished[0]
            self._interrupted.remove(unfinished[0])
        else:
            trial = (None if self.late else self._tune()) or self._confirm()
        if trial is not None:
            self.running[trial.key] = trial
        return trial

    def _tune(self) -> Trial | None:
        while waiting := [state for state in self.states.values() if state.wants_trials]:
            if (trial := self._ask(min(waiting, key=lambda state: state.trials))) is not None:
                return trial
        return None

    def _ask(self, state: StudyState) -> Trial | None:
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

    def _confirm(self) -> Trial | None:
        for state in self.states.values():
            if self._settled(state) and (waiting := self._confirmation(state)):
                trial = waiting.pop(0)
                self.records.plan(trial)
                return trial
        return None

    def _confirmation(self, state: StudyState) -> list[Trial]:
        """The confirmation trials of a tuned study that have not been handed out."""
        if state.confirmation is None:
            best = state.best()
            state.confirmation = self._confirmation_of(state, best) if best else []
        return state.confirmation

    def _confirmation_of(self, state: StudyState, best: Mapping[str, Any]) -> list[Trial]:
        """What is to be trained of the best configuration, without what has been begun; numbered after an earlier choice's."""
        study, begun, searched = state.study, self._begun_after_tuning(state.study), json.loads(best["searched"])
        there = {(row["stage"], row["seed"]) for row in confirming(begun, dict(best) | {"searched": searched})}
        stages: list[Stage] = ["confirm", "ablate"] if self._ablated(study) else ["confirm"]
        trials = []
        for stage in stages:
            free = 1 + max((row["number"] for row in begun if row["stage"] == stage), default=-1)
            numbers = itertools.count(free)
            for seed in range(self.suite.confirm.first_seed, self.suite.confirm.first_seed + self.suite.confirm.seeds):
                if (stage, seed) not in there:
                    off, confirms = stage == "ablate", best["number"]
                    trials.append(study.trial(stage, next(numbers), seed, searched, off=off, confirms=confirms))
        return trials

    def _begun_after_tuning(self, study: Study) -> list[dict[str, Any]]:
        return [vars(trial) for trial in self._after_tuning if trial.study == study.name]

    def finish(self, key: str, status: Status, reason: str | None = None) -> dict[str, Any] | None:
        """Records how a running trial ended and tells its study; returns its row, or None for a trial that is not running.

        Raises:
            RegbenchError: the end cannot be recorded, not even as a failure.
        """
        trial = self.running.pop(key, None)
        if trial is None:
            return None
        row = self._record(trial, status, reason)
        state = self.states[trial.study]
        state.end(row)
        if trial.stage == "tune":
            self._tell(state, key, row)
        self._drop_checkpoints(state)
        return row

    def _record(self, trial: Trial, status: Status, reason: str | None) -> dict[str, Any]:
        try:
            return self.records.finish(trial, status, reason)
        except RegbenchError:
            raise
        except Exception as error:  # what a method reported cannot be written, or read back
            why = f"{type(error).__name__}: {' '.join(ascii(str(error)).split())}"
        try:
            return self.records.finish(trial, "failed", f"its end could not be recorded: {why}", reports=False)
        except RegbenchError:
            raise
        except Exception:
            raise StorageError(f"the end of trial {trial.key} cannot be recorded: {why}") from None

    def give_back(self, key: str, reason: str) -> None:
        """Takes a running trial back unended, since its surroundings keep it from running: a resumed sweep starts with it.

        Raises:
            SurroundingsError: in place of recording the trial as failed, unless that was asked for.
        """
        if self._give_up:
            self.finish(key, "failed", reason)
        elif (trial := self.running.pop(key, None)) is not None:
            sweep = trial.sweep
            raise SurroundingsError(
                f"trial {key} cannot run here: {reason}. Nothing is lost: mend that, then `regbench resume {sweep}`; "
                f"or let such trials count as failed: `regbench resume {sweep} --give-up`"
            )

    def set_aside(self, key: str) -> None:
        """Takes a running trial back unended, because the sweep stops: a resumed sweep goes on with it."""
        self.running.pop(key, None)

    def _tell(self, state: StudyState, key: str, row: dict[str, Any]) -> None:
        number, status = state.numbers[key], STATES[row["status"]]
        if status == TrialState.COMPLETE and not all(map(math.isfinite, row["values"])):
            status = TrialState.FAIL
        if status == TrialState.PRUNED and row["values"] and len(state.study.objectives) == 1:
            running = state.optuna._storage
            trial_id = running.get_trial_id_from_study_id_trial_number(state.optuna._study_id, number)
            running.set_trial_intermediate_value(trial_id, row["rounds"], row["values"][0])
        state.optuna.tell(number, row["values"] if status == TrialState.COMPLETE else None, state=status)

    def _drop_checkpoints(self, state: StudyState) -> None:
        """Keeps the checkpoint of a study's best trial and of its unfinished ones only."""
        best = state.best()
        for key in state.checkpoints - ({best["key"]} if best else set()):
            self.records.storage.delete(f"checkpoints/{key}.pt")
            state.checkpoints.remove(key)


def _canonical(study: Study, searched: Mapping[str, Any]) -> str:
    """A point as text, the same for equal points, whose numbers may differ by a rounding."""
    point = {name: study.space.settled(name, value) for name, value in searched.items()}
    return json.dumps(point, sort_keys=True, default=str)


def first_ones_first(study: Study) -> list[dict[str, Any]]:
    """Every point of a study's finite space, those with which it begins first."""
    first = study.first_points()
    return sorted(study.space.all_points(), key=lambda point: first.index(point) if point in first else len(first))
