"""Runs the trials of a sweep as one Ray Tune experiment: one queue over all studies, actors reused between trials."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.search import Searcher

from regbench.methods.errors import ClusterError, ConfigError, RegbenchError, StorageError, SurroundingsError
from regbench.methods.memory import pickled, restore
from regbench.platform.execution.ray_cluster import location
from regbench.platform.execution.surroundings import SAID, failure, of_surroundings, root_of
from regbench.platform.execution.trial import Place, parse_checkpoint, train
from regbench.platform.records.records import Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.search.schedulers import PAUSING, ROUND, SCORE, StudySchedulers
from regbench.platform.search.search import Search
from regbench.platform.suite.spec import Suite

Watch = Callable[[Trial, Report | None], None]
FAILURE, STORAGE_FAILURE = "failure", "storage_failure"
REPORT_SECONDS = 0.25
STATE_FILE = "state.pt"
# Longer than a machine takes to join a cluster that grows.
WAITING_SECONDS = 120.0

_log = logging.getLogger(__name__)


def run_trial(config: dict[str, Any], objects: bytes | None = None) -> None:
    """The trainable: trains the trial in ``config`` in this actor and reports to Tune.

    A failure of the training itself is reported, not raised, so that the actor is kept for the next trial. For want of
    something around it, it raises: Tune tries it again in another process, on another machine if there is room. ``objects`` is
    what exists in the driver's memory alone; see ``regbench.methods.memory``.
    """
    restore(objects)
    trial = Trial.from_json(config["trial"])
    trial = replace(trial, searched=config["params"], settings=trial.settings | config["params"])
    place = Place(**config["place"])
    last_report, stopped = 0.0, False

    def tell(result: dict[str, Any], **checkpoint: tune.Checkpoint) -> None:
        nonlocal stopped
        try:
            tune.report(result, **checkpoint)
        except SystemExit:
            # This is how Tune stops a trial; any other is the method's.
            stopped = True
            raise

    def report(entry: Report) -> None:
        nonlocal last_report
        if not config["judged"] and entry.round < trial.planned_rounds and time.monotonic() - last_report < REPORT_SECONDS:
            return
        last_report = time.monotonic()
        result = {ROUND: entry.round, SCORE: entry.metrics[trial.objectives[0]], "seconds": entry.seconds}
        if not config["pausable"]:
            tell(result)
            return
        with tempfile.TemporaryDirectory() as folder:
            content = Storage(place.storage).read(f"checkpoints/{trial.key}.pt")
            (Path(folder) / STATE_FILE).write_bytes(content)
            tell(result, checkpoint=tune.Checkpoint.from_directory(folder))

    try:
        train(trial, place, report, state=_handed_over(), located=[location()])
    except BaseException as error:  # a method may end its process, too
        if stopped:
            raise
        if isinstance(error, StorageError):
            tune.report({STORAGE_FAILURE: failure(error)})
        elif of_surroundings(error):
            raise SurroundingsError(failure(error)) from None
        else:
            tune.report({FAILURE: failure(error)})


def _handed_over() -> dict[str, Any] | None:
    """The state that Tune gives a trial it resumes, or that population-based training copies from another one."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return parse_checkpoint((Path(folder) / STATE_FILE).read_bytes(), "handed over by Tune")


class Unsaved:
    """Pickled as an empty shell: Tune snapshots its parts, but a sweep is resumed from the records, never from a snapshot."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class QueueSearcher(Unsaved, Searcher):
    """Gives Tune the trials of a `Search`, and the search their ends.

    Args:
        search: the studies.
        suite: says how trials are run.
        place: where and how.
        capacity: how many trials the cluster can hold at once.
        watch: called with a trial and None when it has ended.
    """

    def __init__(self, search: Search, suite: Suite, place: Place, capacity: int, watch: Watch) -> None:
        super().__init__()
        self.search = search
        self.suite = suite
        self.place = place
        self.capacity = capacity
        self.watch = watch
        self.trials: dict[str, Trial] = {}
        self.tunes: dict[str, Any] = {}
        self.live: set[str] = set()
        self.paused: set[str] = set()
        self.problem: RegbenchError | None = None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Each study has its own metric and mode."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration, None while all must wait, ``FINISHED`` when the sweep is complete."""
        if self.problem is not None:
            return Searcher.FINISHED
        # Population-based training pauses who is ahead while others of the population wait: all of them must be there.
        if self.suite.scheduler.name != "pbt" and len(self.live - self.paused) >= self.capacity:
            return None
        try:
            trial = self.search.next()
        except Exception as error:  # Tune would end the sweep with it, and lose what runs
            self.problem = _told(error)
            return Searcher.FINISHED
        if trial is None:
            if not self.live and not self.search.done:
                self.problem = ClusterError(
                    f"the sweep waits for {', '.join(sorted(self.search.running))}, which no process trains: "
                    f"continue with `regbench resume {self.suite.name}`"
                )
            return None if self.live else Searcher.FINISHED
        self.trials[trial_id] = trial
        self.live.add(trial_id)
        judged = self.suite.scheduler.name != "none" and trial.stage == "tune"
        # Paused trials continue from, and population-based training copies, the state of the round just reported.
        pausable = judged and self.suite.scheduler.name in PAUSING
        place = replace(self.place, checkpoint_seconds=0) if pausable else self.place
        return {
            "trial": trial.to_json(),
            "params": self._values(trial),
            "rounds": trial.planned_rounds,
            "place": asdict(place),
            "study": trial.study,
            "stage": trial.stage,
            "judged": judged,
            "pausable": pausable,
        }

    def _values(self, trial: Trial) -> dict[str, Any]:
        """The searched values a trial starts with: under population-based training, those of the model that it continues."""
        reports = self.search.records.log(trial.key).reports if self.suite.scheduler.name == "pbt" else []
        return dict((reports[-1].searched if reports else None) or trial.searched)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended by itself, was stopped by its scheduler, or its process died for good."""
        self.live.discard(trial_id)
        self.paused.discard(trial_id)
        trial = self.trials.get(trial_id)
        if trial is None:
            return
        result = result or {}
        try:
            self._finish(trial, result, self.tunes.pop(trial_id, None), error)
        except Exception as problem:  # Tune would end the sweep with it, and lose what runs
            self.problem = self.problem or _told(problem)
        self.watch(trial, None)

    def _finish(self, trial: Trial, result: dict[str, Any], tried: Any, error: bool) -> None:
        if STORAGE_FAILURE in result:
            raise StorageError(result[STORAGE_FAILURE])
        if error:
            root = _last_error(tried)
            died = f"its process died {self.suite.retries + 1} times"
            if isinstance(root, SurroundingsError):
                self.search.give_back(trial.key, failure(root))
            elif root and SAID.search(str(root)):
                self.search.give_back(trial.key, f"{died}: {failure(root)}")
            else:
                self.search.finish(trial.key, "failed", f"{died}; see Ray's logs")
        elif FAILURE in result:
            self.search.finish(trial.key, "failed", result[FAILURE])
        else:
            log = self.search.records.log(trial.key)
            finished = bool(log.reports) and log.reports[-1].round >= trial.planned_rounds
            if not finished and (self.problem or (self.search.late and trial.stage == "tune")):
                # Its scheduler has not judged it: the sweep stops, or the time for tuning is up.
                self.search.set_aside(trial.key)
            else:
                self.search.finish(trial.key, "completed" if finished else "stopped")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records are the truth, and a resumed sweep is built from them."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing; see ``save``."""


def _last_error(tried: Any) -> BaseException | None:
    """What a process that Tune gave up raised, or how it died; None where that is not known."""
    if tried is None or tried.pickled_error_file is None:
        return None
    # Where Tune keeps files until it copies them into its storage.
    return root_of(cloudpickle.loads(Path(tried.pickled_error_file).read_bytes()))


def _told(error: Exception) -> RegbenchError:
    """An error as one that is told in a line."""
    return error if isinstance(error, RegbenchError) else ClusterError(f"the sweep cannot go on: {failure(error)}")


class StopWithProblem(Unsaved, tune.Stopper):
    """Stops what runs when the sweep cannot go on: it is continued by ``resume``, and nobody waits for it meanwhile."""

    def __init__(self, searcher: QueueSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether the sweep cannot go on."""
        return self._searcher.problem is not None


class Watcher(Unsaved, tune.Callback):
    """Shows results as they arrive, and tells the searcher which trials are paused."""

    def __init__(self, searcher: QueueSearcher, watch: Watch) -> None:
        self.searcher = searcher
        self.watch = watch
        # Steps look at these only: a long sweep has many trials that have ended.
        self._unended: list[Any] = []
        self._seen = 0
        self._trained = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Paused trials hold no resources, so others may start."""
        self.searcher.paused = {trial.trial_id for trial in self._unended if trial.status == "PAUSED"}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Where a trial is given up, Tune's own record of it says why."""
        self.searcher.tunes[trial.trial_id] = trial

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A trial reported."""
        if SCORE in result and trial.trial_id in self.searcher.trials:
            known = self.searcher.trials[trial.trial_id]
            report = Report(result[ROUND], time.time(), result["seconds"], {known.objectives[0]: result[SCORE]})
            self.watch(known, report)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Finds trials that Tune gave up without telling the searcher (a reused actor that could not be reset)."""
        self._unended += trials[self._seen :]
        self._seen = len(trials)
        for trial in self._unended:
            if trial.status == "ERROR" and trial.trial_id in self.searcher.live:
                self.searcher.on_trial_complete(trial.trial_id, error=True)
        self._unended = [trial for trial in self._unended if not trial.is_finished()]
        self._say_what_is_waited_for()

    def _say_what_is_waited_for(self) -> None:
        """Names what waits where nothing trains for long, as on a cluster that has lost its machines."""
        now = time.monotonic()
        if not self._unended or any(trial.status == "RUNNING" for trial in self._unended):
            self._trained = now
        elif now - self._trained > WAITING_SECONDS:
            self._trained = now
            waiting = [self.searcher.trials[t.trial_id].key for t in self._unended if t.trial_id in self.searcher.trials]
            need = ", ".join(f"{amount:g} {name}" for name, amount in needed(self.searcher.suite).items() if amount)
            _log.warning("nothing trains: %s waits for a place (%s) on the cluster", ", ".join(waiting), need)


def needed(suite: Suite) -> dict[str, float]:
    """What one trial needs of a cluster, over all of its workers."""
    return {"CPU": suite.resources.cpu * suite.workers, "GPU": suite.resources.gpu * suite.workers}


def capacity(suite: Suite, resources: dict[str, float]) -> int:
    """How many trials fit on a cluster at once.

    Raises:
        ConfigError: not even one does.
    """
    need = needed(suite)
    fits = [int(resources.get(name, 0) / amount + 1e-9) for name, amount in need.items() if amount]
    if min(fits) < 1:
        has = ", ".join(f"{resources.get(name, 0):g} {name}" for name in need)
        asks = ", ".join(f"{amount:g} {name}" for name, amount in need.items() if amount)
        raise ConfigError(
            f"one trial asks for {asks}, the cluster has {has}: lower `resources` or `workers`, or use a larger cluster"
        )
    return min(fits)


def run_tune(search: Search, suite: Suite, place: Place, slots: int, watch: Watch) -> None:
    """Trains every trial of a search on the running Ray cluster; an interrupt ends it early, with ``search.done`` False.

    Args:
        search: what to train.
        suite: says how trials are run.
        place: where and how.
        slots: how many trials the cluster can hold at once.
        watch: called with a trial and its report, and with None when the trial has ended.

    Raises:
        RegbenchError: the storage failed, or a trial lacks something around it each time.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    searcher = QueueSearcher(search, suite, place, slots, watch)
    trainable, reuse = _trainable(suite)
    with _tune_folder(suite, search.records.storage) as folder:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=StudySchedulers(suite, lambda name: search.states[name].study, search.records, lambda: search.late),
                num_samples=-1,
                reuse_actors=reuse,
                trial_name_creator=_short_name,
                trial_dirname_creator=_short_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                verbose=0,
                stop=StopWithProblem(searcher),
                failure_config=tune.FailureConfig(max_failures=suite.retries),
                callbacks=[Watcher(searcher, watch)],
            ),
        )
        tuner.fit()
    if searcher.problem is not None:
        raise searcher.problem


@contextmanager
def _tune_folder(suite: Suite, storage: Storage) -> Iterator[str]:
    """Where Tune keeps its files while the sweep runs.

    Trials that pause, or take another's state over, may go on on another node: theirs are in the storage, which all nodes see.
    """
    if suite.scheduler.name in PAUSING:
        try:
            yield storage.child("tune").uri
        finally:
            storage.delete_folder("tune")
        return
    with tempfile.TemporaryDirectory(prefix="regbench-tune-") as folder:
        yield folder


def _trainable(suite: Suite) -> tuple[Any, bool]:
    """What Tune runs for each trial, with its resources, and whether its actors can be reused."""
    if suite.execution == "train":
        from regbench.platform.execution.train import run_trial_with_train

        # The driver of a Ray Train run computes nothing: it takes no CPU from the workers, and stays on the head node.
        driver = tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
        parameters = {"suite": suite.model_dump_json(), "objects": pickled()}
        return tune.with_resources(tune.with_parameters(run_trial_with_train, **parameters), driver), False
    need = {"cpu": suite.resources.cpu} | ({"gpu": suite.resources.gpu} if suite.resources.gpu else {})
    objects = pickled()
    trainable = tune.with_parameters(run_trial, objects=objects) if objects else run_trial
    return tune.with_resources(trainable, need), True


def _short_name(trial: Any) -> str:
    return trial.trial_id
