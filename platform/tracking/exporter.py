"""MLflow as a projection of the records: one experiment a track; one run a sweep, one nested run a trial, one run a study.

Nothing is read back from MLflow but which runs and points are there. A server that was down is caught up by exporting again,
and exporting twice adds nothing. A run holds exactly what the trial's record holds: where a resumed trial repeated rounds that
had been exported, its run is replaced, because MLflow can add points but not take them back.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from regbench.platform.records.records import Log, Records, Report, Trial
from regbench.platform.tracking.connection import connect, explained, sqlite_file
from regbench.platform.tracking.description import NOTE, STATUS, SweepDescription, sweep_name, title
from regbench.platform.tracking.moved import artifacts_in
from regbench.platform.tracking.names import mlflow_name
from regbench.platform.tracking.points import milliseconds, once, points
from regbench.platform.tracking.runs import ARTIFACTS, Changes, Run, Runs
from regbench.platform.tracking.studies import DIGEST, StudyRun, Tables, compared_at, read_tables, study_runs
from regbench.platform.tracking.views import comparison_view, trials_view, view_key, view_page

# What a report consists of; whatever else lies in its folder is not ours.
REPORT = re.compile(r"[a-z_]+\.(html|csv|parquet)")


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


def advice(records: Records) -> str:
    """What to do where MLflow cannot be used while a sweep is exported."""
    return f"the results are safe: run `regbench sync {sweep_name(records)}` when the server is back"


class Exporter:
    """Projects one sweep's records into MLflow. There must be one at a time for a sweep: MLflow does not keep keys unique.

    Args:
        records: of the sweep.
        uri: of MLflow's server or database.
        running_s: a running trial is brought up to date when it has reports of so many seconds that MLflow has not.
        exported: called with the key of each trial that was brought up to date.
    """

    def __init__(
        self, records: Records, uri: str, running_s: float = 0.0, exported: Callable[[str], None] = lambda key: None
    ) -> None:
        self.records = records
        self.uri = uri
        self._running_s = running_s
        self._exported = exported
        self._trials: dict[str, Trial] = {}
        self._runs: Runs | None = None

    @cached_property
    def _sweep(self) -> SweepDescription:
        return SweepDescription(self.records)

    def sync(self, final: bool = False) -> SyncResult:
        """Brings MLflow up to date with the records.

        Args:
            final: also upload the report, and where every trial has ended the best checkpoints, and close the sweep's own runs.

        Raises:
            TrackingError: MLflow cannot be reached or refuses something; what it has got stays, and the next export goes on.
        """
        self._read_trials()
        ended = self.records.ended()
        try:
            with explained(self.uri, advice(self.records)):
                runs = self._runs = self._runs or Runs(connect(self.uri), self._sweep, self._artifacts())
                changes = runs.changes = Changes()
                for track in dict.fromkeys(trial.track for trial in self._trials.values()):
                    self._sync_track(runs, track, ended, final)
        except BaseException:
            # A request that seemed to fail may have been carried out: next time, look again what is there.
            self._runs = None
            raise
        return SyncResult(len(changes.created), len(changes.updated - changes.created), changes.points)

    def _read_trials(self) -> None:
        """Reads the specifications that are new; they never change."""
        for key in sorted(self.records.started() - self._trials.keys()):
            if (trial := self.records.specification(key)) is not None:
                self._trials[key] = trial

    def _artifacts(self) -> str | None:
        """Where artifacts go: beside a SQLite file, in the storage folder for other databases; a server decides itself."""
        if self.uri.startswith(("http:", "https:")):
            return None
        folder = sqlite_file(self.uri) or self.records.storage.local
        return artifacts_in(folder.parent) if folder else None

    def _sync_track(self, runs: Runs, track: str, ended: set[str], final: bool) -> None:
        trials = [trial for trial in self._trials.values() if trial.track == track]
        if track not in runs.experiments:
            runs.open(track)
            self._open_sweep(runs, trials[0])
        for trial in trials:
            run = runs.get(trial.key)
            if run and run.failed_at is not None and not (trial.key in ended and self._ended_at(trial.key) == run.failed_at):
                # The trial has been trained again since.
                runs.delete(run)
                run = None
            if run is None or not run.ended:
                self._export(runs, trial, trial.key in ended)
        if final:
            self._upload_report(runs, track)
            if tables := read_tables(self.records.storage):
                self._export_studies(runs, track, tables)
            if all(trial.key in ended for trial in trials):
                self._upload_checkpoints(runs, trials)
                self._close(runs, track)

    def _ended_at(self, key: str) -> int:
        return milliseconds(self.records.trial(key)["ended"].timestamp())

    def _open_sweep(self, runs: Runs, trial: Trial) -> None:
        """Makes the sweep's own run in the track of a trial, if it is not there."""
        track = trial.track
        run = runs.get(track) or runs.create(track, track, self._sweep.name, self._sweep.started, self._sweep.sweep_tags())
        if not run.described:
            runs.log(run, values=self._sweep.shared(track))

    def _export(self, runs: Runs, trial: Trial, ended: bool) -> None:
        """One trial's run: made when the trial has begun, then its new points, then its end."""
        row = self.records.trial(trial.key) if ended else None
        log = self.records.log(trial.key)
        run = self._current(runs, trial, log)
        if row is None and not self._due(run, log):
            return
        parent = runs[trial.track]
        runs.reopen(parent)
        if run is None:
            since = row["started"].timestamp() if row else log.attempts[0]["time"]
            tags = self._sweep.trial_tags(trial, parent.run_id)
            run = runs.create(trial.track, trial.key, title(trial), since, tags)
        # The parameters last: a run that has them counts as described.
        values: dict[str, Any] = {}
        if not run.described:
            runs.add_data(run, self._sweep.data(trial))
            values |= self._sweep.searched(trial)
        status: dict[str, str] = {}
        if row:
            values |= json.loads(row["searched"]) if trial.ranges else {}
            status = {STATUS: row["status"]} | ({"reason": row["reason"]} if row["reason"] else {})
        after = run.newest[0] if run.newest else 0
        new = list(points(trial, log.reports, after, self._sweep.changing))
        runs.log(run, new, values, status)
        if new:
            run.newest = _mark(log.reports[-1])
        if row:
            runs.end(run, "FAILED" if row["status"] in ("failed", "refused") else "FINISHED", row["ended"])
        self._exported(trial.key)

    def _due(self, run: Run | None, log: Log) -> bool:
        """Whether a running trial has begun, and has enough to send."""
        if not log.attempts or not self._running_s:
            return bool(log.attempts)
        sent = run.newest[1] / 1000 if run and run.newest and run.newest[1] else log.attempts[0]["time"]
        return bool(log.reports) and log.reports[-1].time - sent >= self._running_s

    def _current(self, runs: Runs, trial: Trial, log: Log) -> Run | None:
        """The trial's run, if there is one and its newest points are still what the log says; one that is not is deleted."""
        run = runs.get(trial.key)
        if run is None:
            return None
        newest = runs.newest(run, mlflow_name(trial.objectives[0]))
        if newest == (0, 0) or newest in map(_mark, log.reports):
            return run
        runs.delete(run)
        return None

    def _export_studies(self, runs: Runs, track: str, tables: Tables) -> None:
        """The runs and views that compare a track's studies."""
        tuned = {
            (trial.data, trial.entry): trial for trial in self._trials.values() if trial.stage == "tune" and trial.searched
        }
        views: dict[str, str] = {}
        pages: dict[str, str] = {}
        for data, studies in study_runs(tables, track).items():
            for study in studies:
                note = ""
                if trial := tuned.get((data, study.entry)):
                    key = view_key(self._sweep, track, data, study.entry)
                    views[key] = trials_view(self._sweep, trial, study.weights)
                    note = f"[Tuning trials]({view_page(runs.experiments[track], key)})"
                self._export_study(runs, study, note, compared_at(tables))
            baseline = next((runs[study.key].run_id for study in studies if study.baseline), "")
            key = view_key(self._sweep, track, data)
            views[key] = comparison_view(self._sweep, studies, baseline)
            pages[f"Compare on {data}"] = view_page(runs.experiments[track], key)
        runs.share(track, views)
        if runs[track].tags.get(NOTE) != (note := self._sweep.note(pages)):
            runs.log(runs[track], tags={NOTE: note})

    def _export_study(self, runs: Runs, study: StudyRun, note: str, when: datetime) -> None:
        """One study's run; a new one where the comparison has changed, because MLflow does not change parameters."""
        run = runs.get(study.key)
        if run and run.ended and run.tags.get(DIGEST) == study.digest:
            return
        if run:
            runs.delete(run)
        run = runs.create(study.track, study.key, study.name, when.timestamp(), study.tags | {NOTE: note})
        runs.log(run, once(study.metrics, when), study.params, {STATUS: "completed", DIGEST: study.digest})
        runs.end(run, "FINISHED", when)

    def _close(self, runs: Runs, track: str) -> None:
        """Ends the sweep's own run in a track whose trials have all ended."""
        parent = runs[track]
        if parent.ended:
            return
        runs.log(parent, tags={STATUS: "completed"})
        runs.end(parent, "FINISHED", max(row["ended"] for row in self.records.trials().to_pylist() if row["track"] == track))

    def _upload_report(self, runs: Runs, track: str) -> None:
        """The report and its tables, with the suite that they came from; again only where they have changed."""
        if files := [name for name in self.records.storage.names("report") if REPORT.fullmatch(name)]:
            paths = ["suite.json", *(f"report/{name}" for name in files)]
            contents = {path.rpartition("/")[2]: self.records.storage.read(path) for path in paths}
            runs.upload(runs[track], contents)

    def _upload_checkpoints(self, runs: Runs, trials: list[Trial]) -> None:
        """Each study's best checkpoint: the only ones that the records keep."""
        kept = set(self.records.storage.names("checkpoints"))
        for trial in trials:
            run, name = runs[trial.key], f"{trial.key}.pt"
            if name in kept and ARTIFACTS not in run.tags:
                runs.upload(run, {name: self.records.storage.read(f"checkpoints/{name}")})


def _mark(report: Report) -> tuple[int, int]:
    """Round and timestamp of a report's points."""
    return report.round, milliseconds(report.time)
