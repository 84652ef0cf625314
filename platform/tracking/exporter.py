"""MLflow as a projection of the records: one experiment a track, one run a sweep, one nested run a trial.

Nothing is read back from MLflow but which runs and points are there. A server that was down is caught up by exporting again,
and exporting twice adds nothing. A run holds exactly what the trial's record holds: where a resumed trial repeated rounds that
had been exported, its run is replaced, because MLflow can add points but not take them back.
"""

import hashlib
import json
import logging
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from regbench.methods.errors import TrackingError
from regbench.platform.records.records import Log, Records, Report, Trial
from regbench.platform.records.storage import Storage, scrubbed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

# Kept where the user has set them. A dead server must be noticed in seconds: the records are safe without it.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
KEY, SWEEP, ARTIFACTS, STATUS, RUNNING = "regbench.key", "regbench.sweep", "regbench.artifacts", "status", "running"
# A sweep's name is only its owner's: on a shared server two people may both run `quickstart`.
IDENTITY = "regbench.id"
VERSIONS = ("regbench", "torch", "ray", "optuna")
TERMINAL = ("FINISHED", "FAILED", "KILLED")
# The step of a metric that a run has once: the UI shows such metrics as bars, and others as curves.
ONCE = 0
LIVE_SECONDS = 5.0
# Longer than any healthy export of one trial takes; a server that needs more is caught up with `regbench sync`.
PATIENCE_SECONDS = 120.0

_log = logging.getLogger(__name__)


def default_uri(storage: Storage) -> str:
    """The SQLite store beside the results.

    Raises:
        TrackingError: the results are not on this machine, where SQLite could be.
    """
    if storage.local is None:
        raise TrackingError(
            f"results in {scrubbed(storage.uri, storage.uri)} need an MLflow server: "
            "give its address with --tracking, or go without: --tracking none"
        )
    return f"sqlite:///{storage.local}/mlflow.db"


def check(uri: str) -> None:
    """Makes sure that a tracking store can be used, within seconds.

    Raises:
        TrackingError: it is a file store, nothing answers there, or the database cannot be written.
    """
    if "://" not in uri or uri.startswith("file:"):
        raise TrackingError(f"MLflow no longer writes to folders such as {uri}: use sqlite:///FILE, or the address of a server")
    try:
        urlsplit(uri)
    except ValueError as error:
        raise TrackingError(f"--tracking is not an address: {error}") from None
    with _explained(uri, "start the server, correct --tracking, or use --tracking none"):
        if (database := _sqlite_file(uri)) is None:
            _client(uri).search_experiments(max_results=1)
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        if not database.exists():
            # Not by opening it: an empty database would pass for one that MLflow has made.
            with tempfile.TemporaryFile(dir=database.parent):
                return
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


def ui_command(uri: str, host: str = "127.0.0.1", port: int = 5000) -> tuple[list[str], dict[str, str]]:
    """The command that serves the MLflow UI on a database, and the environment that it needs besides the present one."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    if (database := _sqlite_file(uri)) is not None:
        command += ["--artifacts-destination", _artifacts_in(database.parent)]
    # The address of a database may hold a password, and any user can list the arguments of a process.
    # Without the last, MLflow starts eight more processes for jobs that we do not have.
    settings = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return command, ENVIRONMENT | settings


@dataclass(frozen=True)
class SyncResult:
    """What an export added to MLflow.

    Attributes:
        created: runs that were not there.
        updated: runs that were there and got points, an end, or artifacts.
        points: metric points.
    """

    created: int
    updated: int
    points: int

    def __str__(self) -> str:
        if not (self.created or self.updated or self.points):
            return "MLflow is up to date"
        return f"{self.created} runs created, {self.updated} updated, {self.points} metric points added"


@dataclass
class _Run:
    """A run in MLflow as this exporter knows it.

    Attributes:
        newest: round and timestamp of its newest points, (0, 0) when it has none, None until MLflow was asked.
    """

    run_id: str
    tags: dict[str, str]
    described: bool = False
    ended: bool = False
    newest: tuple[int, int] | None = None


@dataclass
class _Changes:
    """What an export has done so far, by key of the run."""

    created: set[str] = field(default_factory=set)
    updated: set[str] = field(default_factory=set)
    points: int = 0


class Exporter:
    """Projects one sweep's records into MLflow. There must be one at a time for a sweep: MLflow does not keep keys unique.

    Args:
        records: of the sweep.
        uri: of MLflow's server or database.

    Attributes:
        exports: trials brought up to date so far, each as often as it was.
    """

    def __init__(self, records: Records, uri: str) -> None:
        self.records = records
        self.uri = uri
        self.name = records.storage.uri.partition("?")[0].rstrip("/").rpartition("/")[2]
        self.advice = f"the results are safe: run `regbench sync {self.name}` when the server is back"
        self._trials: dict[str, Trial] = {}
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, _Run] = {}
        self._changes = _Changes()
        self.exports = 0

    def sync(self, final: bool = False) -> SyncResult:
        """Brings MLflow up to date with the records.

        Args:
            final: also upload the report, and where every trial has ended the best checkpoints, and close the sweep's own runs.

        Raises:
            TrackingError: MLflow cannot be reached or refuses something; what it has got stays, and the next export goes on.
        """
        changes = self._changes = _Changes()
        self._read_trials()
        ended = self.records.ended()
        try:
            with _explained(self.uri, self.advice):
                client = _client(self.uri)
                for track in dict.fromkeys(trial.track for trial in self._trials.values()):
                    self._sync_track(client, track, ended, final)
        except BaseException:
            # A request that seemed to fail may have been carried out: next time, look again what is there.
            self._experiments.clear()
            self._runs.clear()
            raise
        return SyncResult(len(changes.created), len(changes.updated - changes.created), changes.points)

    def comparison_page(self, track: str) -> str:
        """The UI's page, below its address, with charts and a ranking of a track's confirmed runs (tuned, if none are planned).

        Sorted by the metric: sorted by date, the UI folds the runs into the sweep's own and shows none of them.
        """
        trial = next(trial for trial in self._trials.values() if trial.track == track)
        stage, metric = "confirm", f"test/{trial.objectives[0].partition('/')[2]}"
        if _part(self._suite, "suite", "confirm").get("seeds") == 0:
            stage, metric = "tune", f"best/{trial.objectives[0]}"
        query = {
            "workflowType": "machine_learning",
            "compareRunsMode": "CHART",
            "searchFilter": f"tags.`{IDENTITY}` = '{self._identity}' AND tags.stage = '{stage}'",
            "orderByKey": f"metrics.`{metric}`",
            "orderByAsc": "true" if trial.modes[0] == "min" else "false",
        }
        return f"/#/experiments/{self._experiments[track]}/runs?{urlencode(query, quote_via=quote)}"

    def pages(self) -> dict[str, str]:
        """The comparison page of each track that MLflow has, below the UI's address.

        Raises:
            TrackingError: MLflow cannot be reached.
        """
        self._read_trials()
        with _explained(self.uri, self.advice):
            client = _client(self.uri)
            for track in {trial.track for trial in self._trials.values()}:
                if experiment := client.get_experiment_by_name(_experiment(track)):
                    self._experiments[track] = experiment.experiment_id
        return {track: self.comparison_page(track) for track in sorted(self._experiments)}

    @cached_property
    def _suite(self) -> dict[str, Any]:
        suite: dict[str, Any] = json.loads(self.records.storage.read("suite.json"))
        return suite

    @property
    def _identity(self) -> str:
        return str(self._suite.get("id", self.name))

    def _key(self, name: str) -> str:
        return f"{self.name}/{name}"

    def _read_trials(self) -> None:
        """Reads the specifications that are new; they never change."""
        for name in self.records.storage.names("trials"):
            key = name.removesuffix(".json")
            if key not in self._trials:
                self._trials[key] = Trial.from_json(self.records.storage.read(f"trials/{name}"))

    def _sync_track(self, client: "MlflowClient", track: str, ended: set[str], final: bool) -> None:
        if track not in self._experiments:
            self._open(client, track)
        trials = [trial for trial in self._trials.values() if trial.track == track]
        for trial in trials:
            run = self._runs.get(self._key(trial.key))
            if run is None or not run.ended:
                self._export(client, trial, trial.key in ended)
        if final:
            self._upload_report(client, track)
            if all(trial.key in ended for trial in trials):
                self._upload_checkpoints(client, trials)
                self._close(client, track)

    def _open(self, client: "MlflowClient", track: str) -> None:
        """Finds or makes the track's experiment, this sweep's runs in it, and the sweep's own run."""
        name = _experiment(track)
        experiment = client.get_experiment_by_name(name) or self._create_experiment(client, name)
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(f"MLflow's experiment '{name}' is deleted: restore it, or remove it for good with `mlflow gc`")
        self._experiments[track] = experiment.experiment_id
        self._find_runs(client, track)
        parent = self._runs.get(self._key(track)) or self._create_parent(client, track)
        if not parent.described:
            client.log_batch(parent.run_id, params=_params(self._shared(track)))
            parent.described = True

    def _create_experiment(self, client: "MlflowClient", name: str) -> "Experiment":
        """A track's experiment, which another sweep may make at the same moment."""
        from mlflow.exceptions import MlflowException

        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            client.create_experiment(name, artifact_location=self._artifacts(), tags=kind)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return client.get_experiment_by_name(name)

    def _artifacts(self) -> str | None:
        """Where artifacts go: beside a SQLite file, in the storage folder for other databases; a server decides itself."""
        if self.uri.startswith(("http:", "https:")):
            return None
        database, results = _sqlite_file(self.uri), self.records.storage.local
        folder = database or results
        return _artifacts_in(folder.parent) if folder else None

    def _find_runs(self, client: "MlflowClient", track: str) -> None:
        token = None
        while True:
            page = client.search_runs(
                [self._experiments[track]], f"tags.`{IDENTITY}` = '{self._identity}'", max_results=1000, page_token=token
            )
            for run in page:
                tags = dict(run.data.tags)
                ended = run.info.status in TERMINAL and tags.get(STATUS, RUNNING) != RUNNING
                self._runs[tags[KEY]] = _Run(run.info.run_id, tags, described=bool(run.data.params), ended=ended)
            if not (token := page.token):
                return

    def _create_parent(self, client: "MlflowClient", track: str) -> _Run:
        """The sweep's own run in a track."""
        provenance = _part(self._suite, "provenance")
        page = self.comparison_page(track)
        tags = {name: str(provenance[name]) for name in ("host",) if provenance.get(name)}
        tags |= {f"version.{name}": str(provenance[name]) for name in ("python", "mlflow") if provenance.get(name)}
        description = _part(self._suite, "suite").get("description") or ""
        # MLflow shows this as the run's description.
        tags["mlflow.note.content"] = f"{description}\n\n[Compare the confirmed runs]({page})".strip()
        started = provenance.get("started")
        since = datetime.fromisoformat(started).timestamp() if started else None
        return self._create(client, track, track, self.name, since, tags | {"stage": "sweep"})

    def _shared(self, track: str) -> dict[str, Any]:
        """What all trials of a track share: on the sweep's own run, so that their parameters show only what varies."""
        spec = _part(self._suite, "suite")
        studies = [study for study in self._suite.get("studies", []) if study.get("track") == track]
        shared: dict[str, Any] = {name: spec[name] for name in ("trials", "seed", "execution", "workers") if name in spec}
        shared |= {name: _part(spec, name)["name"] for name in ("sampler", "scheduler") if "name" in _part(spec, name)}
        shared |= {f"confirm.{name}": value for name, value in _part(spec, "confirm").items()}
        shared |= {name: ", ".join(dict.fromkeys(study[name] for study in studies)) for name in ("entry", "data") if studies}
        for entry, details in _part(spec, "methods").items():
            if not studies or any(study["entry"] == entry for study in studies):
                shared |= {f"{entry}.{name}": value for name, value in _part(details, "settings").items()}
        return shared | _part(spec, "settings")

    def _create(
        self, client: "MlflowClient", track: str, name: str, shown: str, since: float | None, tags: dict[str, str]
    ) -> _Run:
        provenance = _part(self._suite, "provenance")
        tags = {KEY: self._key(name), SWEEP: self.name, IDENTITY: self._identity, "track": track, STATUS: RUNNING} | tags
        tags |= {f"version.{package}": str(provenance[package]) for package in VERSIONS if provenance.get(package)}
        if provenance.get("git"):
            tags["mlflow.source.git.commit"] = str(provenance["git"])
        start = _milliseconds(since) if since else None
        run = client.create_run(self._experiments[track], start_time=start, tags=tags, run_name=shown)
        made = self._runs[self._key(name)] = _Run(run.info.run_id, tags, newest=(0, 0))
        self._changes.created.add(self._key(name))
        return made

    def _export(self, client: "MlflowClient", trial: Trial, ended: bool) -> None:
        """One trial's run: made when the trial has begun, then its new points, then its end."""
        row = self.records.trial(trial.key) if ended else None
        log = self.records.log(trial.key)
        if row is None and not log.attempts:
            return
        self._reopen(client, trial.track)
        since = row["started"].timestamp() if row else log.attempts[0]["time"]
        run = self._current(client, trial, log) or self._create(
            client, trial.track, trial.key, _title(trial), since, self._trial_tags(trial)
        )
        if not run.described:
            self._describe(client, run, trial)
        self._send(client, run, trial, log.reports)
        if row:
            if trial.ranges:
                client.log_batch(run.run_id, params=_params(json.loads(row["searched"])))
            tags = {STATUS: row["status"]} | ({"reason": row["reason"]} if row["reason"] else {})
            self._end(client, run, tags, "FAILED" if row["status"] == "failed" else "FINISHED", row["ended"])
        self.exports += 1

    def _current(self, client: "MlflowClient", trial: Trial, log: Log) -> _Run | None:
        """The trial's run, if there is one and its newest points are still what the log says; one that is not is deleted."""
        run = self._runs.get(self._key(trial.key))
        if run is None:
            return None
        if run.newest is None:
            history = client.get_metric_history(run.run_id, trial.objectives[0])
            run.newest = max(((point.step, point.timestamp) for point in history), default=(0, 0))
        if run.newest == (0, 0) or run.newest in {(report.round, _milliseconds(report.time)) for report in log.reports}:
            return run
        client.delete_run(run.run_id)
        return None

    def _trial_tags(self, trial: Trial) -> dict[str, str]:
        return {
            "mlflow.parentRunId": self._runs[self._key(trial.track)].run_id,
            "method": trial.method,
            "entry": trial.entry,
            "data": trial.data,
            "seed": str(trial.seed),
            "stage": trial.stage,
            "objective": ", ".join(trial.objectives),
        } | {name: value for name, value in (("arxiv", trial.arxiv), ("learned", trial.learned)) if value}

    def _describe(self, client: "MlflowClient", run: _Run, trial: Trial) -> None:
        """Data set and parameters; the parameters last, because a run that has them counts as described."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        version = _part(self._suite, "provenance").get("regbench", "")
        digest = hashlib.sha256(f"{trial.data} {version}".encode()).hexdigest()[:16]
        data = Dataset(name=trial.data, digest=digest, source_type="code", source=json.dumps({"loader": trial.data}))
        inputs = [DatasetInput(data, [InputTag("mlflow.data.context", "train")])]
        try:
            client.log_inputs(run.run_id, inputs)
        except MlflowException:
            # Another sweep may have added the data set at the same moment: by now it is there.
            client.log_inputs(run.run_id, inputs)
        # What is learned while it trains is no parameter before the end.
        searched = {name: value for name, value in trial.searched.items() if name not in trial.ranges}
        client.log_batch(run.run_id, params=_params({"entry": trial.entry, "seed": trial.seed} | searched))
        run.described = True

    def _send(self, client: "MlflowClient", run: _Run, trial: Trial, reports: list[Report]) -> None:
        changing = _part(self._suite, "suite", "scheduler").get("name") == "pbt"
        after = run.newest[0] if run.newest else 0
        if points := list(_points(trial, reports, after, changing)):
            client.log_batch(run.run_id, metrics=points)
            run.newest = (reports[-1].round, _milliseconds(reports[-1].time))
            self._changes.points += len(points)
            self._changes.updated.add(self._key(trial.key))

    def _reopen(self, client: "MlflowClient", track: str) -> None:
        """Says that a sweep goes on that had been taken for complete."""
        parent = self._runs[self._key(track)]
        if parent.ended:
            client.update_run(parent.run_id, status="RUNNING")
            client.set_tag(parent.run_id, STATUS, RUNNING)
            parent.ended = False

    def _end(self, client: "MlflowClient", run: _Run, tags: dict[str, str], state: str, ended: datetime) -> None:
        from mlflow.entities import RunTag

        client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        client.set_terminated(run.run_id, state, end_time=_milliseconds(ended.timestamp()))
        run.ended = True
        run.tags |= tags
        self._changes.updated.add(run.tags[KEY])

    def _close(self, client: "MlflowClient", track: str) -> None:
        """Ends the sweep's own run in a track whose trials have all ended, with the means over the confirmed seeds."""
        parent = self._runs[self._key(track)]
        if parent.ended:
            return
        rows = [row for row in self.records.trials().to_pylist() if row["track"] == track]
        if points := list(_confirmed(rows)):
            client.log_batch(parent.run_id, metrics=points)
            self._changes.points += len(points)
        self._end(client, parent, {STATUS: "completed"}, "FINISHED", max(row["ended"] for row in rows))

    def _upload_report(self, client: "MlflowClient", track: str) -> None:
        """The report and its tables, with the suite that they came from; again only where they have changed."""
        if files := self.records.storage.names("report"):
            paths = ["suite.json", *(f"report/{name}" for name in files)]
            contents = {path.rpartition("/")[2]: self.records.storage.read(path) for path in paths}
            self._upload(client, self._runs[self._key(track)], contents)

    def _upload_checkpoints(self, client: "MlflowClient", trials: list[Trial]) -> None:
        """Each study's best checkpoint: the only ones that the records keep."""
        kept = set(self.records.storage.names("checkpoints"))
        for trial in trials:
            run, name = self._runs[self._key(trial.key)], f"{trial.key}.pt"
            if name in kept and ARTIFACTS not in run.tags:
                self._upload(client, run, {name: self.records.storage.read(f"checkpoints/{name}")})

    def _upload(self, client: "MlflowClient", run: _Run, contents: dict[str, bytes]) -> None:
        """Uploads files as artifacts of a run, unless it has them."""
        digest = hashlib.sha256()
        for name, content in sorted(contents.items()):
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        if run.tags.get(ARTIFACTS) == digest.hexdigest():
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in contents.items():
                (Path(folder) / name).write_bytes(content)
            client.log_artifacts(run.run_id, folder)
        client.set_tag(run.run_id, ARTIFACTS, digest.hexdigest())
        run.tags[ARTIFACTS] = digest.hexdigest()
        self._changes.updated.add(run.tags[KEY])


class LiveExporter:
    """Exports now and then while a sweep runs, in a thread of its own: a slow or dead server never holds the sweep up.

    Args:
        exporter: of the sweep.
        period_s: seconds between two exports.
        patience_s: seconds without a further trial after which `stop` gives the last export up.

    Attributes:
        problem: why MLflow is not up to date, one line that says what to do; None while all is well.
    """

    def __init__(self, exporter: Exporter, period_s: float = LIVE_SECONDS, patience_s: float = PATIENCE_SECONDS) -> None:
        self.exporter = exporter
        self.problem: str | None = None
        self._period_s = period_s
        self._patience_s = patience_s
        self._warned = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-exporter", daemon=True)

    def start(self) -> None:
        """Starts the thread, which does not keep the process alive."""
        self._thread.start()

    def stop(self) -> None:
        """Has the thread export what is left and end; ``problem`` says why, if that failed or took too long."""
        self._stopped.set()
        before = -1
        # A long sweep of short trials may be far ahead of its export.
        while self._thread.is_alive() and self.exporter.exports > before:
            before = self.exporter.exports
            self._thread.join(self._patience_s)
        if self._thread.is_alive():
            where = scrubbed(self.exporter.uri, self.exporter.uri)
            self.problem = f"MLflow at {where} took over {self._patience_s:g} s for a trial; {self.exporter.advice}"

    def _work(self) -> None:
        while not self._stopped.wait(self._period_s):
            self._sync(final=False)
        self._sync(final=True)

    def _sync(self, final: bool) -> None:
        try:
            self.exporter.sync(final)
            self.problem = None
        except TrackingError as error:
            self._remember(str(error))
        except Exception as error:
            reason = scrubbed(f"{type(error).__name__}: {error}", self.exporter.uri)
            self._remember(f"the export to MLflow failed: {reason}; {self.exporter.advice}")

    def _remember(self, problem: str) -> None:
        self.problem = problem
        if not self._warned:
            self._warned = True
            _log.warning("%s; the sweep goes on", problem)


def _experiment(track: str) -> str:
    return f"regbench/{track}"


def _title(trial: Trial) -> str:
    """A run's name: what tells runs of a sweep apart comes first, because the UI cuts names off."""
    return f"{trial.entry} {trial.stage} {trial.number} on {trial.data}"


def _points(trial: Trial, reports: list[Report], after: int, changing: bool) -> Iterator[Any]:
    """Metric points of the rounds after ``after``: what was reported, and the best so far of each objective.

    Population-based training (``changing``) gives a running trial new settings: they are metrics then, since parameters cannot
    change. The first objective comes last in its round: a round that has it is there as a whole.
    """
    from mlflow.entities import Metric

    best: dict[str, float] = {}
    for report in reports:
        values = dict(report.metrics)
        for name, mode in zip(trial.objectives, trial.modes, strict=True):
            pick = max if mode == "max" else min
            best[name] = pick(best.get(name, values[name]), values[name])
            values[f"best/{name}"] = best[name]
        if changing:
            searched = report.searched or {}
            values |= {f"param/{name}": float(value) for name, value in searched.items() if isinstance(value, int | float)}
        values[trial.objectives[0]] = values.pop(trial.objectives[0])
        if report.round > after:
            stamp = _milliseconds(report.time)
            yield from (
                Metric(name, value, stamp, ONCE if name.startswith("test/") else report.round) for name, value in values.items()
            )


def _confirmed(rows: list[dict[str, Any]]) -> Iterator[Any]:
    """The mean of each test metric over a study's confirmed trials, as metric points."""
    from mlflow.entities import Metric

    studies: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["stage"] == "confirm" and row["status"] == "completed":
            studies.setdefault(f"{row['entry']}/{row['data']}", []).append(row)
    for study, confirmed in studies.items():
        stamp = _milliseconds(max(row["ended"].timestamp() for row in confirmed))
        values = [dict(row["metrics"]) for row in confirmed]
        for metric in (name for name in values[0] if name.startswith("test/")):
            # Entries are named freely, metrics are not.
            name = re.sub(r"[^\w\-./: ]", "_", f"confirm/{study}/{metric}")
            yield Metric(name, statistics.fmean(value[metric] for value in values), stamp, ONCE)


def _part(mapping: Any, *path: str) -> dict[str, Any]:
    """The mapping at a path of keys; an empty one where there is none, as in suites of other versions."""
    for name in path:
        mapping = mapping.get(name) if isinstance(mapping, dict) else None
    return mapping if isinstance(mapping, dict) else {}


def _params(values: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(re.sub(r"[^\w\-./: ]", "_", name), str(value)) for name, value in values.items()]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _client(uri: str) -> "MlflowClient":
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # After the import, which sets levels of its own. What they take for an error, such as a full disk, we say in one line.
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    if (database := _sqlite_file(uri)) is not None and not database.exists():
        _create_database(database)
    return MlflowClient(tracking_uri=uri)


def _create_database(database: Path) -> None:
    """Has MLflow make its tables under another name: a database in which it was killed doing that can never be used again."""
    from mlflow import MlflowClient

    partial = database.with_name(f".{database.name}.{os.getpid()}")
    database.parent.mkdir(parents=True, exist_ok=True)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
        # Another process may have made it by now: its content stays.
        os.link(partial, database)
    except FileExistsError:
        pass
    except OSError:
        # There are no hard links here.
        partial.replace(database)
    finally:
        partial.unlink(missing_ok=True)


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, None for another kind."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()


def _artifacts_in(folder: Path) -> str:
    return (folder / "mlartifacts").as_uri()


def _cause(error: BaseException) -> BaseException:
    """What went wrong at the bottom, such as a refused connection, where the error tells."""
    found, seen = error, error
    while (deeper := seen.__cause__ or seen.__context__) is not None:
        seen = deeper
        if isinstance(seen, OSError | sqlite3.Error):
            found = seen
    return found


@contextmanager
def _explained(uri: str, advice: str) -> Iterator[None]:
    """Turns what MLflow and its database raise into one line that says what to do."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        reason = scrubbed(str(_cause(error)), uri)
        raise TrackingError(f"MLflow at {scrubbed(uri, uri)} cannot be used: {reason[:300]}; {advice}") from None
