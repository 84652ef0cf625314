"""One Tune scheduler for each study, behind a single one that Tune sees.

A trial is judged among the trials of its own study only. Confirmation trials are never stopped.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.schedulers.hyperband import _Bracket

from regbench.platform.records.records import Records, study_of
from regbench.platform.search.exploration import explored
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite

SCORE, ROUND = "score", "round"
# Schedulers that pause trials or hand one's state to another.
PAUSING = ("hyperband", "pbt")


@dataclass(frozen=True)
class _Past:
    """What a scheduler asks of a trial that ended before a resume."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict, compare=False)
    status: str = TuneTrial.TERMINATED


class StudySchedulers(TrialScheduler):
    """Passes each trial's events to the scheduler of its study.

    Args:
        suite: names the scheduler.
        study: the study of a name; each gets a scheduler when its first trial comes.
        records: results of an interrupted sweep, told to the schedulers again.
        late: whether the time for tuning is up, which stops every tuning trial.
    """

    def __init__(
        self, suite: Suite, study: Callable[[str], Study], records: Records, late: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__()
        # A Ray Train run that is stopped from outside keeps its workers' resources.
        self._late = late if suite.execution == "tune" else lambda: False
        self._unjudged = FIFOScheduler()
        self._pauses = suite.scheduler.name in PAUSING
        self._identities: dict[str, dict[str, Any]] = {}
        self._order: dict[str, int] = {}
        self._inner: dict[str, TrialScheduler] = {}
        self._suite, self._study = suite, study
        self._ended = Counter(study_of(row) for row in records.trials().to_pylist() if row["stage"] == "tune")
        if suite.scheduler.name in ("asha", "median"):
            self._replay(records)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune snapshots its scheduler, but a sweep is resumed from the records."""
        return {}

    @property
    def supports_buffered_results(self) -> bool:
        """Every result counts at once."""
        return False

    def _replay(self, records: Records) -> None:
        """Fills the rungs with the curves of trials that have ended, which Tune's own snapshots do not keep."""
        ended = {row["key"]: row for row in records.trials().to_pylist() if row["stage"] == "tune"}
        trials = {trial.key: trial for trial in records.planned()}
        for key, row in ended.items():
            scheduler = self._of_study(trials[key].study)
            past = _Past(key)
            scheduler.on_trial_add(None, past)
            for report in records.log(key).reports:
                result = {"training_iteration": report.round, ROUND: report.round, SCORE: report.metrics[row["objectives"][0]]}
                scheduler.on_trial_result(_View(None, []), past, result)
            scheduler.on_trial_remove(_View(None, []), past)

    def _for(self, trial: TuneTrial) -> TrialScheduler:
        judged = trial.config["stage"] == "tune" and self._suite.scheduler.name != "none"
        return self._of_study(trial.config["study"]) if judged else self._unjudged

    def _of_study(self, name: str) -> TrialScheduler:
        if name not in self._inner:
            self._inner[name] = scheduler_for(self._suite, self._study(name), self._ended[name])
        return self._inner[name]

    def _view(self, controller: Any, scheduler: TrialScheduler) -> Any:
        # Only trials that have not ended: no scheduler asks for others, and there are many in a long sweep.
        live = sorted(controller.get_live_trials(), key=lambda trial: self._order[trial.trial_id])
        return _View(controller, [trial for trial in live if self._for(trial) is scheduler])

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A trial enters the queue."""
        self._order.setdefault(trial.trial_id, len(self._order))
        self._identities[trial.trial_id] = {name: value for name, value in trial.config.items() if name != "params"}
        self._for(trial).on_trial_add(self._view(tune_controller, self._for(trial)), trial)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A trial's process died for good."""
        self._for(trial).on_trial_error(self._view(tune_controller, self._for(trial)), trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """A trial reported a round: it continues, pauses or stops."""
        if SCORE not in result:
            return TrialScheduler.CONTINUE
        if trial.config["stage"] == "tune" and result[ROUND] < trial.config["rounds"] and self._late():
            return TrialScheduler.STOP
        if self._pauses and result[ROUND] >= trial.config["rounds"]:
            # A finished model is neither paused, nor changed, nor copied: there would be nothing left to train.
            return TrialScheduler.CONTINUE
        decision = self._for(trial).on_trial_result(self._view(tune_controller, self._for(trial)), trial, result)
        # Population-based training copies another trial's whole configuration: only its parameters are meant.
        trial.config.update(self._identities[trial.trial_id])
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:
        """A trial ended by itself; one that failed has no result that could be compared."""
        scheduler = self._for(trial)
        view = self._view(tune_controller, scheduler)
        if SCORE in result:
            scheduler.on_trial_complete(view, trial, result)
        else:
            scheduler.on_trial_remove(view, trial)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A trial left the queue before its end."""
        self._for(trial).on_trial_remove(self._view(tune_controller, self._for(trial)), trial)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """The next waiting or paused trial, asking each study in turn."""
        for scheduler in (self._unjudged, *self._inner.values()):
            view = self._view(tune_controller, scheduler)
            if view.get_trials() and (trial := scheduler.choose_trial_to_run(view)) is not None:
                return trial
        return None

    def debug_string(self) -> str:
        """Names the schedulers."""
        return f"{len(self._inner)} study schedulers"


class _View:
    """Tune's controller as one study's scheduler may see it: its own trials, and no searcher (which pbt would refuse)."""

    search_alg = None

    def __init__(self, controller: Any, trials: list[TuneTrial]) -> None:
        self._controller = controller
        self._trials = trials

    def get_trials(self) -> list[TuneTrial]:
        return self._trials

    def get_live_trials(self) -> list[TuneTrial]:
        return [trial for trial in self._trials if not trial.is_finished()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)


class _WholeBracket(_Bracket):
    """A bracket that is filled when all of its trials have come, and whose last ones are trained to their end.

    Ray's forgets those that have ended, and takes ever more.
    """

    came = 0

    def add_trial(self, trial: TuneTrial) -> None:
        super().add_trial(trial)
        self.came += 1

    def filled(self) -> bool:
        return self.came >= self._n0

    def successive_halving(self, metric: str, metric_op: float) -> tuple[list[TuneTrial], list[TuneTrial]]:
        found = super().successive_halving(metric, metric_op)
        if self._halves == 0:
            # Ray's last milestone is the length over a power of the reduction, rounded down, times that power: where it is less
            # than the length, none of the bracket would be trained to its end.
            self._r = self._cumul_r = self._max_t_attr
        return found


class _HyperBand(HyperBandScheduler):
    """HyperBand whose brackets are halved when they are filled, and go on when a trial ends by itself.

    Trials come when there is room for them. Ray's scheduler would halve whatever a bracket holds when its trials have come to a
    milestone, so that one which comes alone wins; and it waits for ever for one that fails after a halving.

    Args:
        expected: how many trials there will be.
        **options: of Ray's scheduler.
    """

    def __init__(self, expected: int, **options: Any) -> None:
        super().__init__(**options)
        self._expected = expected

    def _create_bracket(self, s: int) -> _WholeBracket:
        return _WholeBracket(
            time_attr=self._time_attr,
            max_trials=self._get_n0(s),
            init_t_attr=self._get_r0(s),
            max_t_attr=self._max_t_attr,
            eta=self._eta,
            s=s,
            stop_last_trials=self._stop_last_trials,
        )

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        super().on_trial_add(tune_controller, trial)
        self._expected -= 1

    def _process_bracket(self, tune_controller: Any, bracket: _WholeBracket) -> str:
        if self._expected > 0 and not bracket.filled():
            return TrialScheduler.PAUSE
        decision: str = super()._process_bracket(tune_controller, bracket)
        # Set by Ray against re-entry and never taken back.
        bracket.is_being_processed = False
        return decision


def scheduler_for(suite: Suite, study: Study, ended: int) -> TrialScheduler:
    """The Tune scheduler of one study, by the suite's choice; so many of its tuning trials ended before a resume."""
    spec, metric = suite.scheduler, study.objectives[0]
    common = {"time_attr": ROUND, "metric": SCORE, "mode": metric.mode}
    # Rungs and brackets follow the longest training that the space allows: none is cut at the length of the default.
    _, rounds = study.rounds
    match spec.name:
        case "asha":
            return ASHAScheduler(**common, max_t=rounds, grace_period=spec.grace_of(rounds), reduction_factor=spec.reduction)
        case "hyperband":
            return _HyperBand(study.trials - ended, **common, max_t=rounds, reduction_factor=spec.reduction)
        case "median":
            # An endless time slice turns its pausing off: paused trials without a checkpoint would start again.
            return MedianStoppingRule(
                **common, grace_period=spec.grace_of(rounds), min_samples_required=3, min_time_slice=float("inf")
            )
        case _:
            numbers = random.Random(f"{study.seed}/{study.name}/pbt")
            return PopulationBasedTraining(
                **common,
                perturbation_interval=spec.grace or 1,
                custom_explore_fn=lambda config: config | {"params": explored(study.space, config["params"], numbers)},
            )
