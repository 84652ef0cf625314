"""What to train next: an Optuna study for each (entry, data set, replicate), and the stages when a study is tuned.

Knows nothing of how trials run: `Search.next` hands out a trial, `Search.finish` takes back how it ended.
"""

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

from regbench.methods.errors import ConfigError, RegbenchError, StorageError, SurroundingsError
from regbench.platform.records.choice import confirming
from regbench.platform.records.records import Records, Stage, Status, Trial, study_name
from regbench.platform.search.after_tuning import choosing, confirmation
from regbench.platform.search.study_state import StudyState
from regbench.platform.search.tuning import Tuning
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite
from regbench.platform.verdicts.contrasts import Contrast, open_contrasts


class Search:
    """Hands out the trials of a suite and learns from how they end.

    Args:
        suite: the suite.
        studies: its studies, of the first replicate.
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
        self._tuning = Tuning(suite, records)
        self._studies = {study.name: study for study in studies}
        self._keys = suite.model_dump()
        self._described = [study.describe() for study in studies]
        self._plain = {study.method.track.name: study.method.track.baseline for study in studies}
        self._open: tuple[int, list[Contrast]] = (-1, [])
        self.states: dict[str, StudyState] = {}
        for replicate in range(suite.replicates):
            for study in studies:
                self._state(study, replicate)
        self.running: dict[str, Trial] = {}
        self._interrupted: list[Trial] = []
        self._replay()

    def limit(self, hours: float | None) -> None:
        """From now on there are so many hours for tuning; None: no limit."""
        self._deadline = math.inf if hours is None else time.monotonic() + 3600 * hours

    @property
    def late(self) -> bool:
        """Whether the time for tuning is up: trials that are being tuned are set aside, and what is there is confirmed."""
        return time.monotonic() > self._deadline

    def _state(self, study: Study, replicate: int) -> StudyState:
        """How far a study is in a replicate, which begins when it is asked for first."""
        name = study_name(study.entry, study.data, replicate)
        if name not in self.states:
            self.states[name] = self._tuning.state(study.repeated(replicate, self.suite))
        return self.states[name]

    def _replay(self) -> None:
        rows = {row["key"]: row for row in self.records.trials().to_pylist()}
        for trial in sorted(self.records.planned(), key=lambda trial: (trial.study, trial.stage != "tune", trial.number)):
            study = self._studies.get(study_name(trial.entry, trial.data, 0))
            if study is None or (trial.replicate and self.suite.replicates == 1):
                raise ConfigError(f"the records hold trial {trial.key}, which the suite does not have; use another sweep name")
            state = self._state(study, trial.replicate)
            row = rows.get(trial.key)
            if row is None and not trial.planned_rounds:
                # A refused draw whose record a crash has lost: it is drawn again.
                continue
            if trial.stage == "tune":
                self._tuning.replay(state, trial, row)
            else:
                state.begun.append(trial)
            if row is None:
                self._interrupted.append(trial)
            else:
                state.end(row)
        for state in self.states.values():
            self._tuning.restart(state)

    @property
    def total(self) -> int:
        """How many trials the sweep has in all, as far as it is known (an upper bound while studies may still fail)."""
        return sum(self._total(state) for state in self.states.values())

    def _total(self, state: StudyState) -> int:
        tuning = state.study.trials if state.wants_trials else state.trials
        choice = 0
        if self.suite.choose and tuning > 1:
            among = len(state.contenders()) if state.tuned else min(self.suite.choose.top, tuning)
            choice = self.suite.choose.seeds * among if among > 1 else 0
        confirmed = self.suite.confirm.seeds * len(self._stages(state.study))
        begun = sum(trial.stage != "choose" for trial in state.begun)
        return tuning + choice + max(confirmed, begun)

    def _stages(self, study: Study) -> tuple[Stage, ...]:
        return ("confirm", "ablate") if self.suite.confirm.ablate and study.method.weights() else ("confirm",)

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        if self.running or self._unfinished() or not all(map(self.exhausted, self.in_any_case())):
            return False
        return self.late or not self.open()

    def in_any_case(self) -> list[StudyState]:
        """The studies of the replicates that are run in any case."""
        return [state for state in self.states.values() if state.study.replicate < self.suite.replicates]

    def open(self) -> list[Contrast]:
        """The comparisons that are not decided, the closest to a decision first; none where nothing depends on that."""
        if not self.suite.until:
            return []
        ended = sum(len(state.ended) for state in self.states.values())
        if self._open[0] != ended:
            rows = [row for state in self.states.values() for row in (*state.ended.values(), *state.refusals)]
            self._open = ended, open_contrasts(self._described, self._keys, rows, self._plain)
        return self._open[1]

    def _unfinished(self) -> list[Trial]:
        """What was interrupted and is to be trained now: when the time for tuning is up, confirmations only."""
        late = self.late
        return [trial for trial in self._interrupted if not (late and trial.stage == "tune") and self._is_wanted(trial)]

    def _is_wanted(self, trial: Trial) -> bool:
        """Whether something still depends on a trial; what was begun for a comparison that is decided is left as it is."""
        if trial.replicate < self.suite.replicates and (
            trial.stage in ("tune", "choose") or trial.seed in self.suite.confirming_seeds(trial.replicate)
        ):
            return True
        stages = {stage for c in self.open() for stage in c.stages.get(study_name(trial.entry, trial.data, 0), ())}
        return trial.stage in stages or bool(stages and trial.stage in ("tune", "choose"))

    def exhausted(self, state: StudyState) -> bool:
        """Whether nothing of a study is still to be handed out of what is trained in any case."""
        return self._settled(state) and next(self._after_tuning(state), None) is None

    def _settled(self, state: StudyState) -> bool:
        """Whether a study's choice can be made: its tuning has ended, or the time for it is up."""
        tuning = (trial for trial in self.running.values() if trial.stage == "tune" and trial.study == state.study.name)
        return state.tuned or (self.late and not any(tuning))

    def unconfirmed(self, state: StudyState) -> bool:
        """Whether a study has been confirmed on all of its seeds, and on none with success."""
        chosen = state.chosen()
        if chosen is None or not self.suite.confirm.seeds or not self.exhausted(state):
            return False
        confirmed = [row for row in confirming(state.ended.values(), chosen) if row["stage"] == "confirm"]
        return all(row["status"] != "completed" for row in confirmed)

    def next(self) -> Trial | None:
        """A trial to start now, planned in the records; None while nothing can start before something ends.

        Interrupted trials come first, then what is trained in any case, replicate by replicate, then what is not decided.
        """
        if unfinished := self._unfinished():
            trial: Trial | None = unfinished[0]
            self._interrupted.remove(unfinished[0])
        else:
            trial = self._in_any_case() or (None if self.late else self._further())
        if trial is not None:
            self.running[trial.key] = trial
        return trial

    def _in_any_case(self) -> Trial | None:
        for replicate in range(self.suite.replicates):
            states = [state for state in self.in_any_case() if state.study.replicate == replicate]
            if trial := self._tune(states) or self._begin(map(self._after_tuning, states)):
                return trial
        return None

    def _tune(self, states: list[StudyState]) -> Trial | None:
        """The next tuning trial: of the study with the fewest so far."""
        while not self.late and (waiting := [state for state in states if state.wants_trials]):
            if (trial := self._tuning.ask(min(waiting, key=lambda state: state.trials))) is not None:
                return trial
        return None

    def _begin(self, found: Iterable[Iterable[Trial]]) -> Trial | None:
        """Plans the first of some trials of the stages after tuning."""
        for trials in found:
            for trial in trials:
                self.records.plan(trial)
                self.states[trial.study].begun.append(trial)
                return trial
        return None

    def _after_tuning(
        self, state: StudyState, stages: Iterable[Stage] | None = None, seeds: Iterable[int] | None = None
    ) -> Iterator[Trial]:
        """What can be trained of a tuned study now: what decides its choice; once that is made, what confirms it."""
        if not self._settled(state):
            return
        yield from choosing(self.suite, state)
        unended = (*self.running.values(), *self._interrupted)
        chosen = state.chosen()
        if chosen is None or any(trial.stage == "choose" and trial.study == state.study.name for trial in unended):
            return
        seeds = self.suite.confirming_seeds(state.study.replicate) if seeds is None else seeds
        yield from confirmation(self.suite, state, chosen, stages or self._stages(state.study), seeds)

    def _further(self) -> Trial | None:
        """A trial of a unit that an open comparison lacks, unit by unit, since all that are open are looked at together."""
        found = self.open()
        for unit in range(self.suite.units, self.suite.limit if found else 0):
            for contrast in found:
                for name, stages in contrast.stages.items():
                    if trial := self._of_unit(self._studies[name], unit, stages):
                        return trial
        return None

    def _of_unit(self, study: Study, unit: int, stages: Iterable[Stage]) -> Trial | None:
        if self.suite.replicates == 1:
            seeds = [self.suite.confirm.first_seed + unit]
            return self._begin([self._after_tuning(self._state(study, 0), stages, seeds)])
        state = self._state(study, unit)
        return self._tune([state]) or self._begin([self._after_tuning(state, stages)])

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
            self._tuning.tell(state, key, row)
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

    def _drop_checkpoints(self, state: StudyState) -> None:
        """Keeps the checkpoint of a study's chosen trial, before the choice of all that may be, and of its unfinished ones."""
        chosen = state.chosen()
        decided = chosen is not None and len(state.stage("choose")) >= sum(trial.stage == "choose" for trial in state.begun)
        kept = {row["key"] for row in ([chosen] if decided and chosen and state.tuned else state.contenders())}
        for key in state.checkpoints - kept:
            self.records.storage.delete(f"checkpoints/{key}.pt")
            state.checkpoints.remove(key)
