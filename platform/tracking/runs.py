"""The runs of one sweep in MLflow: found or made, given points, parameters and files, ended."""

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regbench.methods.errors import TrackingError
from regbench.platform.tracking.description import IDENTITY, KEY, RUNNING, STATUS, SweepDescription, experiment_name
from regbench.platform.tracking.points import milliseconds, params
from regbench.platform.tracking.views import TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Experiment, Metric

ARTIFACTS = "regbench.artifacts"
TERMINAL = ("FINISHED", "FAILED", "KILLED")


@dataclass
class Run:
    """A run in MLflow as it is known here.

    Attributes:
        run_id: MLflow's.
        tags: that it has.
        described: whether it has its parameters.
        ended: whether it has its end.
        failed_at: when it failed, in milliseconds; None where it did not, or has ended here.
        newest: round and timestamp of its newest points, (0, 0) when it has none, None until MLflow was asked.
    """

    run_id: str
    tags: dict[str, str]
    described: bool = False
    ended: bool = False
    failed_at: int | None = None
    newest: tuple[int, int] | None = None


@dataclass
class Changes:
    """What an export has done: keys of runs that it created and that it updated, metric points that it added."""

    created: set[str] = field(default_factory=set)
    updated: set[str] = field(default_factory=set)
    points: int = 0


class Runs:
    """Runs by trial, and the sweep's own by track; every change is made in MLflow and remembered here.

    They are found by the sweep's identity: one that was moved, or has got another name, finds those that it had.

    Args:
        client: of MLflow.
        sweep: whose runs they are.
        artifacts: where new experiments keep artifacts; None where the server decides.

    Attributes:
        experiments: ids of the experiments, by track.
        changes: what was done since it was last replaced.
    """

    def __init__(self, client: "MlflowClient", sweep: SweepDescription, artifacts: str | None) -> None:
        self._client = client
        self._sweep = sweep
        self._artifacts = artifacts
        self._runs: dict[str, Run] = {}
        self._views: dict[str, dict[str, str]] = {}
        self.experiments: dict[str, str] = {}
        self.changes = Changes()

    def get(self, name: str) -> Run | None:
        """The run of a trial, by its key, or the sweep's own, by its track; None where there is none."""
        return self._runs.get(name)

    def __getitem__(self, name: str) -> Run:
        return self._runs[name]

    def open(self, track: str) -> None:
        """Finds or makes a track's experiment, and finds this sweep's runs in it.

        Raises:
            TrackingError: the experiment is deleted.
        """
        name = experiment_name(track)
        experiment = self._client.get_experiment_by_name(name) or self._create_experiment(name)
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(f"MLflow's experiment '{name}' is deleted: restore it, or remove it for good with `mlflow gc`")
        self.experiments[track] = experiment.experiment_id
        self._views[track] = dict(experiment.tags)
        token = None
        while True:
            page = self._client.search_runs(
                [experiment.experiment_id], f"tags.`{IDENTITY}` = '{self._sweep.identity}'", max_results=1000, page_token=token
            )
            for run in page:
                tags = dict(run.data.tags)
                ended = run.info.status in TERMINAL and tags.get(STATUS, RUNNING) != RUNNING
                failed_at = run.info.end_time if run.info.status == "FAILED" else None
                found = Run(run.info.run_id, tags, described=bool(run.data.params), ended=ended, failed_at=failed_at)
                self._runs[_within(tags)] = found
            if not (token := page.token):
                return

    def _create_experiment(self, name: str) -> "Experiment":
        """A track's experiment, which another sweep may make at the same moment."""
        from mlflow.exceptions import MlflowException

        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            self._client.create_experiment(name, artifact_location=self._artifacts, tags=kind)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self._client.get_experiment_by_name(name)

    def create(self, track: str, name: str, shown: str, since: float | None, tags: dict[str, str]) -> Run:
        """Makes a run.

        Args:
            track: in whose experiment.
            name: of the run, as in ``get``.
            shown: its name in the UI.
            since: when it began, in seconds since 1970; None for now.
            tags: besides those that all runs have.
        """
        tags = self._sweep.tags(track, name) | tags
        start = milliseconds(since) if since else None
        run = self._client.create_run(self.experiments[track], start_time=start, tags=tags, run_name=shown)
        made = self._runs[name] = Run(run.info.run_id, tags, newest=(0, 0))
        self.changes.created.add(tags[KEY])
        return made

    def delete(self, run: Run) -> None:
        """Deletes a run; another may be made in its place."""
        self._client.delete_run(run.run_id)
        del self._runs[_within(run.tags)]

    def newest(self, run: Run, metric: str) -> tuple[int, int]:
        """Round and timestamp of the newest points of a metric, (0, 0) when there are none."""
        if run.newest is None:
            history = self._client.get_metric_history(run.run_id, metric)
            run.newest = max(((point.step, point.timestamp) for point in history), default=(0, 0))
        return run.newest

    def add_data(self, run: Run, data: "DatasetInput") -> None:
        """Adds the data set that a run trains on."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_inputs(run.run_id, [data])
        except MlflowException:
            # Another sweep may have added the data set at the same moment: by now it is there.
            self._client.log_inputs(run.run_id, [data])

    def log(
        self,
        run: Run,
        points: "Sequence[Metric]" = (),
        values: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Adds metric points, parameters and tags, in as few requests as MLflow allows; it refuses to change a parameter."""
        from mlflow.entities import RunTag

        if not (points or values or tags):
            return
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        self._client.log_batch(run.run_id, metrics=points, params=params(values or {}), tags=labels)
        run.described |= bool(values)
        run.tags |= tags or {}
        self.changes.points += len(points)
        self.changes.updated.add(run.tags[KEY])

    def reopen(self, run: Run) -> None:
        """Says that something goes on that had been taken for complete."""
        if run.ended:
            self._client.update_run(run.run_id, status="RUNNING")
            self._client.set_tag(run.run_id, STATUS, RUNNING)
            run.ended = False

    def end(self, run: Run, state: str, ended: datetime) -> None:
        """Ends a run, in one of MLflow's states."""
        self._client.set_terminated(run.run_id, state, end_time=milliseconds(ended.timestamp()))
        run.ended = True
        self.changes.updated.add(run.tags[KEY])

    def share(self, track: str, views: dict[str, str]) -> None:
        """Keeps views of the UI, by key, with a track's experiment."""
        for key, view in views.items():
            if self._views[track].get(TAG + key) != view:
                self._client.set_experiment_tag(self.experiments[track], TAG + key, view)
                self._views[track][TAG + key] = view

    def upload(self, run: Run, contents: dict[str, bytes]) -> None:
        """Uploads files as artifacts of a run, unless it has them."""
        digest = _digest(contents.items())
        if run.tags.get(ARTIFACTS) == digest:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in contents.items():
                (Path(folder) / name).write_bytes(content)
            self._client.log_artifacts(run.run_id, folder)
        self._client.set_tag(run.run_id, ARTIFACTS, digest)
        run.tags[ARTIFACTS] = digest
        self.changes.updated.add(run.tags[KEY])


def _within(tags: dict[str, str]) -> str:
    """The key of a run within its sweep, whatever the sweep was called when the run was made."""
    return tags.get(KEY, "").partition("/")[2]


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()
