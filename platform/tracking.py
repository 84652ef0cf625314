"""MLflow as a projection of the records: one experiment a track, one run a sweep, one nested run a trial.

Nothing is read back from MLflow but which runs there are. A server that was down is caught up by exporting again, and exporting
twice adds nothing: MLflow passes over a metric point that it has already (same name, step, time and value).
"""

import hashlib
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from regbench.methods.errors import TrackingError
from regbench.platform.records import Records, Report, Trial
from regbench.platform.storage import Storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Kept where the user has set them. A dead server must be noticed in seconds: the records are safe without it.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
KEY, SWEEP, ARTIFACTS, STATUS = "regbench.key", "regbench.sweep", "regbench.artifacts", "status"
# A sweep's name is only its owner's: on a shared server two people may both run `quickstart`.
IDENTITY = "regbench.id"
TERMINAL = ("FINISHED", "FAILED", "KILLED")
LIVE_SECONDS = 5.0


def default_uri(storage: Storage) -> str:
    """The SQLite store beside the results.

    Raises:
        TrackingError: the results are not on this machine, where SQLite could be.
    """
    if storage.local is None:
        raise TrackingError(
            f"results in {storage.uri} need an MLflow server: give its address with --tracking, or go without: --tracking none"
        )
    return f"sqlite:///{storage.local}/mlflow.db"


def check(uri: str) -> None:
    """Makes sure that a tracking store can be used, within seconds.

    Raises:
        TrackingError: it is a file store, or nothing answers there.
    """
    if "://" not in uri or uri.startswith("file:"):
        raise TrackingError(f"MLflow no longer writes to folders such as {uri}: use sqlite:///FILE, or the address of a server")
    if uri.startswith("sqlite:"):
        return
    with _explained(uri):
        _client(uri).search_experiments(max_results=1)


def ui_command(uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command that serves the MLflow UI on a database, and the environment that it needs besides the present one."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    if (artifacts := _artifacts(uri)) is not None:
        command += ["--artifacts-destination", artifacts]
    # Without this, MLflow starts eight more processes for jobs that we do not have.
    return [*command, "--workers", "1"], ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def comparison_path(experiment_id: str, run_ids: list[str]) -> str:
    """The page of the UI that compares runs side by side, below the server's address."""
    return f"/#/compare-runs?runs={quote(json.dumps(run_ids))}&experiments={quote(json.dumps([experiment_id]))}"


@dataclass(frozen=True)
class SyncResult:
    """What an export added to MLflow."""

    runs: int
    points: int

    def __str__(self) -> str:
        return f"{self.runs} runs and {self.points} metric points added" if self.runs or self.points else "MLflow is up to date"


@dataclass
class _Exported:
    """A run in MLflow as this exporter knows it."""

    run_id: str
    ended: bool = False
    round: int = 0


class Exporter:
    """Projects one sweep's records into MLflow.

    Args:
        records: of the sweep.
        uri: of MLflow's server or database.
    """

    def __init__(self, records: Records, uri: str) -> None:
        self.records = records
        self.uri = uri
        self.name = records.storage.uri.partition("?")[0].rstrip("/").rpartition("/")[2]
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, _Exported] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._created = 0
        self._points = 0

    def sync(self, final: bool = False) -> SyncResult:
        """Brings MLflow up to date with the records.

        Args:
            final: also upload the report and the best checkpoints, and close the sweep's own run if every trial has ended.

        Raises:
            TrackingError: MLflow cannot be reached or refuses something; what it has got stays, and the next export goes on.
        """
        self._created = self._points = 0
        with _explained(self.uri):
            client = _client(self.uri)
            suite = json.loads(self.records.storage.read("suite.json"))
            trials = self.records.planned()
            ended = self.records.ended()
            for track in dict.fromkeys(trial.track for trial in trials):
                self._open_track(client, track, suite)
            for trial in trials:
                if not self._runs.get(trial.key, _Exported("")).ended:
                    self._export(client, trial, suite, trial.key in ended)
            if final:
                self._finish(client, trials, ended)
        return SyncResult(self._created, self._points)

    def _open_track(self, client: "MlflowClient", track: str, suite: dict[str, Any]) -> None:
        """Finds or makes the track's experiment, the sweep's run in it, and the runs that are there already."""
        if track in self._experiments:
            return
        name = f"regbench/{track}"
        experiment = client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise TrackingError(f"MLflow's experiment '{name}' is deleted: restore it, or remove it for good with `mlflow gc`")
        if experiment is None:
            self._experiments[track] = client.create_experiment(
                name, artifact_location=_artifacts(self.uri), tags={"mlflow.experimentKind": "custom_model_development"}
            )
        else:
            self._experiments[track] = experiment.experiment_id
            self._find_runs(client, self._experiments[track], suite["id"])
        if self._parent(track) not in self._runs:
            self._create_parent(client, track, suite)

    def _find_runs(self, client: "MlflowClient", experiment_id: str, identity: str) -> None:
        token = None
        while True:
            page = client.search_runs([experiment_id], f"tags.`{IDENTITY}` = '{identity}'", max_results=1000, page_token=token)
            for run in page:
                key = run.data.tags[KEY]
                self._runs[key] = _Exported(run.info.run_id, run.info.status in TERMINAL and STATUS in run.data.tags)
                self._tags[key] = dict(run.data.tags)
            if not (token := page.token):
                return

    def _parent(self, track: str) -> str:
        return f"{self.name}/{track}"

    def _create_parent(self, client: "MlflowClient", track: str, suite: dict[str, Any]) -> None:
        """The sweep's own run: what all its trials share, so that their own parameters show only what varies."""
        spec, provenance = suite["suite"], suite.get("provenance", {})
        tags = {KEY: self._parent(track), SWEEP: self.name, IDENTITY: suite["id"], "track": track, "stage": "sweep"}
        facts = {name: str(value) for name, value in provenance.items() if value is not None}
        tags |= {name if name in ("git", "host") else f"version.{name}": facts[name] for name in facts if name != "started"}
        started = datetime.fromisoformat(facts["started"]) if "started" in facts else None
        run = client.create_run(
            self._experiments[track],
            start_time=round(started.timestamp() * 1000) if started else None,
            tags=tags,
            run_name=self.name,
        )
        shared = {
            "trials": spec["trials"],
            "sampler": spec["sampler"]["name"],
            "scheduler": spec["scheduler"]["name"],
            "confirm_seeds": spec["confirm"]["seeds"],
            "seed": spec["seed"],
            "execution": spec["execution"],
            "methods": ", ".join(spec["methods"]),
        } | spec["settings"]
        client.log_batch(run.info.run_id, params=_params(shared))
        self._add(self._parent(track), run.info.run_id, tags)

    def _add(self, key: str, run_id: str, tags: dict[str, str]) -> None:
        self._runs[key] = _Exported(run_id)
        self._tags[key] = tags
        self._created += 1

    def _export(self, client: "MlflowClient", trial: Trial, suite: dict[str, Any], ended: bool) -> None:
        """One trial's run: its new metric points, and its end."""
        log = self.records.log(trial.key)
        if trial.key not in self._runs:
            self._create(client, trial, suite, log.attempts[0]["time"] if log.attempts else None)
        known = self._runs[trial.key]
        if points := self._new_points(trial, log.reports, known.round, suite):
            client.log_batch(known.run_id, metrics=points)
            self._points += len(points)
            known.round = log.reports[-1].round
        if ended:
            row = self.records.trial(trial.key)
            client.set_tag(known.run_id, STATUS, row["status"])
            if row["reason"]:
                client.set_tag(known.run_id, "reason", row["reason"])
            state = "FAILED" if row["status"] == "failed" else "FINISHED"
            client.set_terminated(known.run_id, state, end_time=round(row["ended"].timestamp() * 1000))
            known.ended = True

    def _create(self, client: "MlflowClient", trial: Trial, suite: dict[str, Any], started: float | None) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        version = suite.get("provenance", {}).get("regbench", "")
        tags = {
            KEY: trial.key,
            SWEEP: self.name,
            IDENTITY: suite["id"],
            "mlflow.parentRunId": self._runs[self._parent(trial.track)].run_id,
            "track": trial.track,
            "method": trial.method,
            "entry": trial.entry,
            "data": trial.data,
            "stage": trial.stage,
            "objective": ", ".join(trial.objectives),
        } | ({"arxiv": trial.arxiv} if trial.arxiv else {})
        run = client.create_run(
            self._experiments[trial.track],
            start_time=round(started * 1000) if started else None,
            tags=tags,
            run_name=trial.key,
        )
        client.log_batch(run.info.run_id, params=_params({"entry": trial.entry, "seed": trial.seed} | trial.searched))
        digest = hashlib.sha256(f"{trial.data} {version}".encode()).hexdigest()[:16]
        data = Dataset(name=trial.data, digest=digest, source_type="code", source=json.dumps({"loader": trial.data}))
        client.log_inputs(run.info.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "train")])])
        self._add(trial.key, run.info.run_id, tags)

    def _new_points(self, trial: Trial, reports: list[Report], after: int, suite: dict[str, Any]) -> list[Any]:
        """Metric points of the rounds after ``after``; besides the reported ones, the best so far of each objective.

        Population-based training changes settings while a trial runs: they are metrics then, since parameters cannot change.
        """
        from mlflow.entities import Metric

        changing = suite["suite"]["scheduler"]["name"] == "pbt"
        best: dict[str, float] = {}
        points = []
        for report in reports:
            values = dict(report.metrics)
            for name, mode in zip(trial.objectives, trial.modes, strict=True):
                if name in values:
                    pick = max if mode == "max" else min
                    best[name] = pick(best.get(name, values[name]), values[name])
                    values[f"best/{name}"] = best[name]
            if changing:
                numeric = {name: value for name, value in (report.searched or {}).items() if isinstance(value, int | float)}
                values |= {f"param/{name}": float(value) for name, value in numeric.items()}
            if report.round > after:
                stamp = round(report.time * 1000)
                points += [Metric(name, value, stamp, report.round) for name, value in values.items()]
        return points

    def _finish(self, client: "MlflowClient", trials: list[Trial], ended: set[str]) -> None:
        """Uploads the best checkpoints and the report, and closes the sweep's own runs."""
        for name in self.records.storage.names("checkpoints"):
            key = name.removesuffix(".pt")
            if key in ended:
                self._upload(client, key, "checkpoints", [name])
        for track, experiment_id in self._experiments.items():
            parent = self._parent(track)
            if files := self.records.storage.names("report"):
                self._upload(client, parent, "report", files)
            if all(trial.key in ended for trial in trials) and not self._runs[parent].ended:
                run_id = self._runs[parent].run_id
                confirmed = [
                    self._runs[trial.key].run_id for trial in trials if trial.track == track and trial.stage == "confirm"
                ]
                page = comparison_path(experiment_id, confirmed)
                # MLflow shows this as the run's description.
                client.set_tag(
                    run_id, "mlflow.note.content", f"[Compare the confirmed runs]({page}), or open report.html below."
                )
                client.set_tag(run_id, STATUS, "completed")
                client.set_terminated(run_id, "FINISHED")
                self._runs[parent].ended = True

    def _upload(self, client: "MlflowClient", key: str, folder: str, names: list[str]) -> None:
        """Uploads files of a folder as artifacts of a run, once for each content."""
        with tempfile.TemporaryDirectory() as copies:
            digest = hashlib.sha256()
            for name in names:
                content = self.records.storage.read(f"{folder}/{name}")
                digest.update(content)
                (Path(copies) / name).write_bytes(content)
            if self._tags[key].get(ARTIFACTS) != digest.hexdigest():
                client.log_artifacts(self._runs[key].run_id, copies)
                client.set_tag(self._runs[key].run_id, ARTIFACTS, digest.hexdigest())
                self._tags[key][ARTIFACTS] = digest.hexdigest()


class LiveExporter:
    """Exports now and then while a sweep runs, in a thread of its own: a slow or dead server never holds the sweep up.

    Args:
        exporter: of the sweep.
        seconds: between two exports.
    """

    def __init__(self, exporter: Exporter, seconds: float = LIVE_SECONDS) -> None:
        self.exporter = exporter
        self.problem: str | None = None
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-exporter", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def _work(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._sync(final=False)

    def stop(self) -> None:
        """Ends the thread and exports what is left; ``problem`` says why, if that failed."""
        self._stopped.set()
        self._thread.join()
        self._sync(final=True)

    def _sync(self, final: bool) -> None:
        try:
            self.exporter.sync(final)
            self.problem = None
        except Exception as error:
            reason = (
                str(error) if isinstance(error, TrackingError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
            )
            self.problem = f"{reason}; the results are safe: run `regbench sync {self.exporter.name}` when MLflow is back"


def _client(uri: str) -> "MlflowClient":
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _params(values: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in values.items()]


def _artifacts(uri: str) -> str | None:
    """Where artifacts go: beside a SQLite file; elsewhere the server decides."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts").as_uri()


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns what MLflow and its database raise into one line that says what to do."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        reason = " ".join(str(error).replace(uri, _without_password(uri)).split())
        raise TrackingError(
            f"MLflow at {_without_password(uri)} cannot be used: {reason[:300]}; start the server, correct --tracking, "
            "or use --tracking none"
        ) from None
