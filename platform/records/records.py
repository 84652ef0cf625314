"""The records of a sweep: the truth from which reports, MLflow and a resumed sweep are made.

Layout below ``<storage>/<sweep>/``::

    suite.json               the suite as it was read, and where and with what it was started
    trials/<key>.json        a trial's specification, written before it starts
    logs/<key>/<attempt>.jsonl   a line of facts, then one per report, written by the process that trains the trial
    checkpoints/<key>.pt     the newest state of a trial; kept only for each study's best trial once it has finished
    records/trials/<key>.parquet, records/curves/<key>.parquet    written once, when the trial has ended

A trial has ended if and only if its Parquet record exists. One file a trial makes writing idempotent: a trial can be neither
lost nor counted twice. Of what other programs leave in these folders, such as copies and backups of editors, nothing is read.
"""

import io
import json
import math
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from regbench.methods.errors import StorageError
from regbench.platform.records.storage import Storage
from regbench.platform.records.tables import CURVES, TRIALS, read_table, read_trials

Stage = Literal["tune", "choose", "confirm", "ablate"]
Status = Literal["completed", "stopped", "failed", "refused"]

UPLOAD_SECONDS = 5.0
READERS = 16
SUMMARY = [
    *("key", "stage", "entry", "data", "replicate", "number", "confirms", "seconds", "searched", "status", "reason"),
    *("modes", "values"),
]
# Also where comparisons are looked at while a sweep runs.
COMPARED = ("seed", "metrics")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*-(tune|choose|confirm|ablate)-\d{4,}")
# What a trial may have none of.
UNTOLD = ("arxiv", "learned", "confirms")
ATTEMPT = re.compile(r"(\d{4,})-[0-9a-f]{8}\.jsonl")


@dataclass(frozen=True)
class Trial:
    """One training to do: everything that decides its numbers.

    Attributes:
        sweep: the sweep's name.
        key: unique within the sweep, a valid file name.
        stage: ``tune``, ``choose``, ``confirm`` or ``ablate``.
        track: the method's track.
        entry: the method's entry in the suite.
        method: slug of the method.
        arxiv: of its paper, or None.
        data: name of the data set.
        number: counts within (entry, data, replicate, stage).
        seed: of the training.
        objectives: names of the metrics that tuning optimizes.
        modes: ``max`` or ``min`` for each.
        planned_rounds: how many reports a full training makes.
        settings: every setting of the method.
        searched: the part of ``settings`` that was searched.
        learned: how it learns its weights, None where it does not.
        confirms: number of the tuning trial whose configuration this is, in the stages after tuning.
        select: which of its rounds counts.
        replicate: the repetition of the whole sweep to which it belongs, from 0.
        split: number of the data set's split.
        ranges: of the weights that the platform learns in this trial, from their values in ``searched``: low, high, and
            whether on a log scale.
    """

    sweep: str
    key: str
    stage: Stage
    track: str
    entry: str
    method: str
    arxiv: str | None
    data: str
    number: int
    seed: int
    objectives: tuple[str, ...]
    modes: tuple[str, ...]
    planned_rounds: int
    settings: dict[str, Any]
    searched: dict[str, Any]
    learned: str | None = None
    confirms: int | None = None
    select: Literal["last", "best_round"] = "last"
    replicate: int = 0
    split: int = 0
    ranges: dict[str, tuple[float, float, bool]] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """The study it belongs to: entry, data set and replicate."""
        return study_name(self.entry, self.data, self.replicate)

    def counted(self, reports: Sequence["Report"]) -> "Report | None":
        """The report that counts: the last one, or the first of those with the best objective; None where there is none."""
        if self.select == "last":
            return reports[-1] if reports else None
        name, pick = self.objectives[0], max if self.modes[0] == "max" else min
        # Of equal ones, both take the first.
        return pick(reports, key=lambda report: report.metrics[name], default=None)

    @staticmethod
    def from_json(text: bytes | str) -> "Trial":
        """Reads what ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        return _SPECIFICATION.validate_python(json.loads(text))

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> "Trial":
        """The specification of a trial that has ended, from its row: with the values that it ended with, and no ranges."""
        # Columns that an older version's record lacks are empty: those fields have defaults.
        facts = {item.name: row[item.name] for item in fields(Trial) if row.get(item.name) is not None or item.name in UNTOLD}
        parsed = {name: json.loads(row[name]) for name in ("settings", "searched")}
        return _SPECIFICATION.validate_python(facts | parsed)

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


_SPECIFICATION = TypeAdapter(Trial)


def study_name(entry: str, data: str, replicate: int | None) -> str:
    """The name of a study; that of the first replicate, which older records do not tell, is entry and data set."""
    return f"{entry}-{data}-r{replicate}" if replicate else f"{entry}-{data}"


def study_of(row: Mapping[str, Any]) -> str:
    """The name of the study to which a row of ``trials`` belongs."""
    return study_name(row["entry"], row["data"], row.get("replicate"))


@dataclass(frozen=True)
class Report:
    """What a trial reported after a round."""

    round: int
    time: float
    seconds: float
    metrics: dict[str, float]
    searched: dict[str, Any] | None = None


@dataclass
class Log:
    """A trial's log as read back: its attempts, and its reports; a round that a later attempt repeated counts once."""

    reports: list[Report] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)


class AttemptLog:
    """The log of one attempt at a trial. No other process writes to it: one that was given up may live on and talk.

    A local disk gets every line at once. Object stores, which cannot append, get the whole log again, at most every few
    seconds: before a checkpoint is written, and at the end, ``flush`` must be called.

    Args:
        storage: of the sweep.
        path: of the log.
        facts: where and how the attempt runs.

    Raises:
        StorageError: it cannot be written; so for all methods.
    """

    def __init__(self, storage: Storage, path: str, facts: dict[str, Any]) -> None:
        self._storage = storage
        self._path = path
        self._content = self._pending = b""
        self._flushed = -math.inf
        self._append({"attempt": facts | {"time": time.time()}})

    def report(self, report: Report) -> None:
        """Appends a report."""
        self._append({"report": asdict(report)})

    def _append(self, line: dict[str, Any]) -> None:
        self._pending += (json.dumps(line) + "\n").encode()
        if self._storage.local is not None or time.monotonic() - self._flushed > UPLOAD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what is not yet written."""
        if not self._pending:
            return
        if self._storage.local is not None:
            self._storage.append(self._path, self._pending)
        else:
            self._content += self._pending
            self._storage.write(self._path, self._content)
        self._pending = b""
        self._flushed = time.monotonic()


class Records:
    """Reads and writes the records of one sweep."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def start_attempt(self, key: str, **facts: Any) -> "AttemptLog":
        """Notes that a trial starts, or starts again; returns the log of this attempt."""
        before = [int(found[1]) for name in self.storage.names(f"logs/{key}") if (found := ATTEMPT.fullmatch(name))]
        name = f"{max(before, default=0) + 1:04d}-{uuid.uuid4().hex[:8]}.jsonl"
        return AttemptLog(self.storage, f"logs/{key}/{name}", facts)

    def log(self, key: str) -> Log:
        """A trial's log; a torn last line, left by a crash, is passed over, and what was never written by an attempt."""
        log, rounds = Log(), dict[int, Report]()
        for name in filter(ATTEMPT.fullmatch, self.storage.names(f"logs/{key}")):
            for line in self.storage.read(f"logs/{key}/{name}").decode(errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    if "attempt" in entry:
                        log.attempts.append(entry["attempt"])
                    else:
                        report = Report(**entry["report"])
                        rounds = {number: old for number, old in rounds.items() if number < report.round}
                        rounds[report.round] = report
        log.reports = list(rounds.values())
        return log

    def plan(self, trial: Trial) -> None:
        """Writes a trial's specification, before it starts."""
        self.storage.write(f"trials/{trial.key}.json", trial.to_json().encode())

    def planned(self) -> list[Trial]:
        """Every trial ever started, in the order of keys, but for those that ``damaged`` names."""
        return [trial for key in sorted(self.started()) if (trial := self.specification(key)) is not None]

    def started(self) -> set[str]:
        """Keys of the trials that were ever started."""
        return self._keys("trials", ".json") | self.ended()

    def specification(self, key: str) -> Trial | None:
        """The specification of a trial, made anew from its record where its file is damaged; None where there is no record."""
        with suppress(FileNotFoundError, ValueError):
            trial = Trial.from_json(self.storage.read(f"trials/{key}.json"))
            if trial.key == key:
                return trial
        with suppress(FileNotFoundError, ValueError, StorageError):
            return Trial.from_row(self.trial(key))
        return None

    def damaged(self) -> list[str]:
        """Keys of the trials that have not ended and whose specification cannot be read: nothing tells what they train."""
        unended = self.started() - {row["key"] for row in self.summary()}
        return [key for key in sorted(unended) if self.specification(key) is None]

    def forget(self, key: str) -> None:
        """Deletes what there is of a trial that has not ended."""
        self.storage.delete(f"trials/{key}.json")
        self.storage.delete(f"records/trials/{key}.parquet")
        self.storage.delete(f"checkpoints/{key}.pt")
        self.storage.delete_folder(f"logs/{key}")

    def ended(self) -> set[str]:
        """Keys of the trials that have ended."""
        return self._keys("records/trials", ".parquet")

    def _keys(self, folder: str, ending: str) -> set[str]:
        """Keys of the trials that have a file in a folder; what is not named as we name files is not ours."""
        names: Iterable[str] = (name.removesuffix(ending) for name in self.storage.names(folder) if name.endswith(ending))
        return set(filter(KEY.fullmatch, names))

    def finish(self, trial: Trial, status: Status, reason: str | None = None, *, reports: bool = True) -> dict[str, Any]:
        """Writes the Parquet record of a trial that has ended, from its log; returns its row of ``trials``.

        Args:
            trial: its specification.
            status: how it ended.
            reason: why it failed, one line.
            reports: whether to read what it reported; where that cannot be recorded, its end must be nevertheless.
        """
        log = self.log(trial.key) if reports else Log()
        last, counted = log.reports[-1] if log.reports else None, trial.counted(log.reports)
        attempt = log.attempts[-1] if log.attempts else {}
        started = log.attempts[0]["time"] if log.attempts else time.time()
        # Population-based training gives an attempt other values than the one before; learned ones change in each report.
        begun_with = None if trial.learned else attempt.get("searched")
        searched = begun_with or (last.searched if last else None) or trial.searched
        row = {
            name: getattr(trial, name)
            for name in (
                "sweep",
                "key",
                "stage",
                "track",
                "entry",
                "method",
                "arxiv",
                "data",
                "number",
                "seed",
                "confirms",
                "replicate",
                "split",
                "planned_rounds",
                "learned",
            )
        } | {
            "status": status,
            "reason": reason,
            "objectives": list(trial.objectives),
            "modes": list(trial.modes),
            "values": [counted.metrics[name] for name in trial.objectives] if counted else [],
            "rounds": last.round if last else 0,
            "counted_round": counted.round if counted else None,
            "metrics": list(counted.metrics.items()) if counted else [],
            "searched": json.dumps(searched),
            "settings": json.dumps(trial.settings | searched),
            "started": _milliseconds(started),
            "ended": _milliseconds(time.time()),
            "seconds": last.seconds if last else 0.0,
            "attempts": len(log.attempts),
            "host": attempt.get("host"),
            "device": attempt.get("device"),
        }
        curve = [
            {
                "sweep": trial.sweep,
                "key": trial.key,
                "round": report.round,
                "metric": metric,
                "value": value,
                "time": _milliseconds(report.time),
                "seconds": report.seconds,
            }
            for report in log.reports
            for metric, value in report.metrics.items()
        ]
        # The curve first: the row in `trials` is what makes the trial count as ended.
        self._write_table("curves", trial.key, pa.Table.from_pylist(curve, schema=CURVES))
        self._write_table("trials", trial.key, pa.Table.from_pylist([row], schema=TRIALS))
        return row

    def take_back(self, key: str) -> None:
        """Takes back that a trial has ended, and what it had learned: it will be trained from its beginning."""
        for path in (f"records/trials/{key}.parquet", f"records/curves/{key}.parquet", f"checkpoints/{key}.pt"):
            self.storage.delete(path)

    def trial(self, key: str) -> dict[str, Any]:
        """The row of ``trials`` of a trial that has ended.

        Raises:
            StorageError: its record is damaged.
        """
        path = f"records/trials/{key}.parquet"
        try:
            rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(self.storage.read(path))).to_pylist()
        except pa.ArrowInvalid:
            rows = []
        if not rows or rows[0].get("key") != key:
            raise StorageError(f"{path} in {self.storage.uri} is damaged: `regbench resume` trains that trial again")
        return rows[0]

    def _write_table(self, name: str, key: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.storage.write(f"records/{name}/{key}.parquet", buffer.getvalue())

    def trials(self) -> pa.Table:
        """The ``trials`` table of the sweep, sorted by key."""
        return read_trials(self.storage, "records/trials", sorted(self.ended()))

    def curves(self) -> pa.Table:
        """The ``curves`` table of the sweep, sorted by key, then round."""
        keys = sorted(self._keys("records/curves", ".parquet"))
        return read_table(self.storage, "records/curves", keys, CURVES).sort_by([("key", "ascending"), ("round", "ascending")])

    def summary(self, *more: str) -> list[dict[str, Any]]:
        """What is told of each trial that has ended while a sweep runs, sorted by key; damaged records are left out.

        Args:
            *more: further columns of ``trials``.
        """
        with ThreadPoolExecutor(READERS) as threads:
            found = threads.map(lambda key: self._summary(key, [*SUMMARY, *more]), sorted(self.ended()))
            return [row for rows in found for row in rows]

    def _summary(self, key: str, columns: list[str]) -> list[dict[str, Any]]:
        try:
            file = pq.ParquetFile(io.BytesIO(self.storage.read(f"records/trials/{key}.parquet")))
            rows: list[dict[str, Any]] = file.read(columns=columns).to_pylist()
        except (pa.ArrowInvalid, FileNotFoundError):
            return []
        return [row for row in rows if row.get("key") == key]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
