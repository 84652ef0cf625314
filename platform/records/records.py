"""The records of a sweep: the truth from which reports, MLflow and a resumed sweep are made.

Layout below ``<storage>/<sweep>/``::

    suite.json               the suite as it was read, and where and with what it was started
    trials/<key>.json        a trial's specification, written before it starts
    logs/<key>/<attempt>.jsonl   a line of facts, then one per report, written by the process that trains the trial
    checkpoints/<key>.pt     the newest state of a trial; kept only for each study's best trial once it has finished
    records/trials/<key>.parquet, records/curves/<key>.parquet    written once, when the trial has ended

A trial has ended if and only if its Parquet record exists. One file a trial makes writing idempotent: a trial can be neither
lost nor counted twice.
"""

import io
import json
import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from regbench.methods.errors import StorageError
from regbench.platform.records.storage import Storage

SCHEMA_VERSION = "2"

Stage = Literal["tune", "confirm", "ablate"]
Status = Literal["completed", "stopped", "failed", "refused"]

UPLOAD_SECONDS = 5.0
FILES_AT_ONCE = 100
READERS = 16
SUMMARY = ["key", "stage", "entry", "data", "number", "confirms", "searched", "status", "reason", "modes", "values"]

_METRICS = pa.map_(pa.string(), pa.float64())

TRIALS = pa.schema(
    [
        pa.field("sweep", pa.string(), metadata={"help": "name of the sweep"}),
        pa.field("key", pa.string(), metadata={"help": "identifies the trial within its sweep"}),
        pa.field(
            "stage",
            pa.string(),
            metadata={
                "help": "tune: searched; confirm: best configuration on a fresh seed; ablate: the same with every weight off"
            },
        ),
        pa.field("track", pa.string(), metadata={"help": "family of comparable methods"}),
        pa.field("entry", pa.string(), metadata={"help": "name of the method's entry in the suite"}),
        pa.field("method", pa.string(), metadata={"help": "slug of the method"}),
        pa.field("arxiv", pa.string(), metadata={"help": "arXiv identifier of its paper"}),
        pa.field("data", pa.string(), metadata={"help": "name of the data set"}),
        pa.field("number", pa.int64(), metadata={"help": "counts the trials of a stage of a study, from 0"}),
        pa.field("seed", pa.int64(), metadata={"help": "seed of the training"}),
        pa.field(
            "confirms", pa.int64(), metadata={"help": "after tuning: number of the tuning trial whose configuration this is"}
        ),
        pa.field(
            "status",
            pa.string(),
            metadata={"help": "completed, stopped (by the scheduler), failed, or refused (a draw that cannot be)"},
        ),
        pa.field("reason", pa.string(), metadata={"help": "why it failed or was refused, one line"}),
        pa.field("objectives", pa.list_(pa.string()), metadata={"help": "what tuning optimizes"}),
        pa.field("modes", pa.list_(pa.string()), metadata={"help": "max or min, for each objective"}),
        pa.field("values", pa.list_(pa.float64()), metadata={"help": "the objectives at the last report"}),
        pa.field("rounds", pa.int64(), metadata={"help": "reports made (epochs, problems, …)"}),
        pa.field("planned_rounds", pa.int64(), metadata={"help": "reports of a full training"}),
        pa.field("metrics", _METRICS, metadata={"help": "every metric at the last report"}),
        pa.field("searched", pa.string(), metadata={"help": "JSON: the searched settings and their values"}),
        pa.field("settings", pa.string(), metadata={"help": "JSON: every setting of the method"}),
        pa.field(
            "learned",
            pa.string(),
            metadata={"help": "how this training learned its weights, with what guarantee; null: it did not"},
        ),
        pa.field("started", pa.timestamp("ms", tz="UTC"), metadata={"help": "first attempt began"}),
        pa.field("ended", pa.timestamp("ms", tz="UTC"), metadata={"help": "record written"}),
        pa.field(
            "seconds", pa.float64(), metadata={"help": "time spent training, over all attempts, without what a crash lost"}
        ),
        pa.field("attempts", pa.int64(), metadata={"help": "1 plus the times it was resumed"}),
        pa.field("host", pa.string(), metadata={"help": "machine of the last attempt"}),
        pa.field("device", pa.string(), metadata={"help": "device of the last attempt"}),
    ],
    metadata={"regbench.schema": SCHEMA_VERSION},
)

CURVES = pa.schema(
    [
        pa.field("sweep", pa.string(), metadata={"help": "name of the sweep"}),
        pa.field("key", pa.string(), metadata={"help": "the trial"}),
        pa.field("round", pa.int64(), metadata={"help": "the report's number, from 1"}),
        pa.field("metric", pa.string(), metadata={"help": "name of the metric, such as val/accuracy"}),
        pa.field("value", pa.float64(), metadata={"help": "its value"}),
        pa.field("time", pa.timestamp("ms", tz="UTC"), metadata={"help": "when it was reported"}),
        pa.field("seconds", pa.float64(), metadata={"help": "time spent training until then"}),
    ],
    metadata={"regbench.schema": SCHEMA_VERSION},
)


@dataclass(frozen=True)
class Trial:
    """One training to do: everything that decides its numbers.

    Attributes:
        sweep: the sweep's name.
        key: unique within the sweep, a valid file name.
        stage: ``tune``, ``confirm`` or ``ablate``.
        track: the method's track.
        entry: the method's entry in the suite.
        method: slug of the method.
        arxiv: of its paper, or None.
        data: name of the data set.
        number: counts within (entry, data, stage).
        seed: of the training.
        objectives: names of the metrics that tuning optimizes.
        modes: ``max`` or ``min`` for each.
        planned_rounds: how many reports a full training makes.
        settings: every setting of the method.
        searched: the part of ``settings`` that was searched.
        learned: how it learns its weights, None where it does not.
        confirms: number of the tuning trial whose configuration this is, in the stages after tuning.
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
    ranges: dict[str, tuple[float, float, bool]] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """The study it belongs to: entry and data set."""
        return f"{self.entry}-{self.data}"

    @staticmethod
    def from_json(text: bytes | str) -> "Trial":
        """Reads what ``to_json`` wrote."""
        raw = json.loads(text)
        return Trial(**raw | {"objectives": tuple(raw["objectives"]), "modes": tuple(raw["modes"])})

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


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
        number = len(self.storage.names(f"logs/{key}")) + 1
        return AttemptLog(self.storage, f"logs/{key}/{number:04d}-{uuid.uuid4().hex[:8]}.jsonl", facts)

    def log(self, key: str) -> Log:
        """A trial's log; a torn last line, left by a crash, is passed over."""
        log, rounds = Log(), dict[int, Report]()
        for name in self.storage.names(f"logs/{key}"):
            for line in self.storage.read(f"logs/{key}/{name}").decode(errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue
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
        """Every trial ever started, in the order of keys."""
        names = [name for name in self.storage.names("trials") if name.endswith(".json")]
        return [Trial.from_json(self.storage.read(f"trials/{name}")) for name in names]

    def ended(self) -> set[str]:
        """Keys of the trials that have ended."""
        return {name.removesuffix(".parquet") for name in self.storage.names("records/trials")}

    def finish(self, trial: Trial, status: Status, reason: str | None = None, *, reports: bool = True) -> dict[str, Any]:
        """Writes the Parquet record of a trial that has ended, from its log; returns its row of ``trials``.

        Args:
            trial: its specification.
            status: how it ended.
            reason: why it failed, one line.
            reports: whether to read what it reported; where that cannot be recorded, its end must be nevertheless.
        """
        log = self.log(trial.key) if reports else Log()
        last = log.reports[-1] if log.reports else None
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
                "planned_rounds",
                "learned",
            )
        } | {
            "status": status,
            "reason": reason,
            "objectives": list(trial.objectives),
            "modes": list(trial.modes),
            "values": [last.metrics[name] for name in trial.objectives] if last else [],
            "rounds": last.round if last else 0,
            "metrics": list(last.metrics.items()) if last else [],
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

    def forget(self, key: str) -> None:
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
            row: dict[str, Any] = pq.read_table(io.BytesIO(self.storage.read(path))).to_pylist()[0]
        except pa.ArrowInvalid:
            raise StorageError(f"{path} in {self.storage.uri} is damaged: `regbench resume` trains that trial again") from None
        return row

    def _write_table(self, name: str, key: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.storage.write(f"records/{name}/{key}.parquet", buffer.getvalue())

    def trials(self) -> pa.Table:
        """The ``trials`` table of the sweep, sorted by key."""
        return self._table("trials", TRIALS).sort_by("key")

    def curves(self) -> pa.Table:
        """The ``curves`` table of the sweep, sorted by key, then round."""
        return self._table("curves", CURVES).sort_by([("key", "ascending"), ("round", "ascending")])

    def summary(self) -> list[dict[str, Any]]:
        """What is told of each trial that has ended while a sweep runs, sorted by key; damaged records are left out."""
        names = self.storage.names("records/trials")
        with ThreadPoolExecutor(READERS) as threads:
            return [row for rows in threads.map(self._summary, names) for row in rows]

    def _summary(self, name: str) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = (
                pq.ParquetFile(io.BytesIO(self.storage.read(f"records/trials/{name}"))).read(columns=SUMMARY).to_pylist()
            )
        except pa.ArrowInvalid:
            return []
        return rows

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        # Brings pandas with it.
        import pyarrow.dataset as ds

        folder = f"records/{name}"
        paths = [f"{self.storage.root}/{folder}/{file}" for file in self.storage.names(folder)]
        # An open data set keeps the description of each of its files, which is larger than a trial's data.
        parts = [
            ds.dataset(
                paths[start : start + FILES_AT_ONCE],
                schema=schema,
                format="parquet",
                filesystem=self.storage.filesystem,
                exclude_invalid_files=True,
            )
            .to_table()
            .combine_chunks()
            for start in range(0, len(paths), FILES_AT_ONCE)
        ]
        return pa.concat_tables([schema.empty_table(), *parts])


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
