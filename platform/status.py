"""How far sweeps have come, read from their records alone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from regbench.methods.errors import RegbenchError
from regbench.platform.records.choice import best_trial, confirming
from regbench.platform.records.lease import last_driver
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.records.suite_file import DamagedSuiteError, read_suite_file
from regbench.platform.records.sweeps import open_sweep, sweep_names

Row = Mapping[str, Any]


class StudyStatus:
    """A study of a sweep: what it plans and which of its trials have ended.

    Args:
        described: as ``suite.json`` describes it.
        suite: the suite's keys.
        rows: of the study's trials that have ended.
    """

    def __init__(self, described: dict[str, Any], suite: dict[str, Any], rows: list[Row]) -> None:
        self.name = f"{described['entry']}-{described['data']}"
        self.tuned = [row for row in rows if row["stage"] == "tune" and row["status"] != "refused"]
        self._refused = sum(row["status"] == "refused" for row in rows)
        self._best = best_trial(rows)
        self.confirmed = confirming(rows, self._best) if self._best else []
        self._trials, seeds = described["trials"], suite["confirm"]["seeds"]
        self._draws = described.get("draws", self._trials)
        self._confirming = seeds * (2 if suite["confirm"]["ablate"] and described["weights"] else 1)

    @property
    def best(self) -> float | None:
        """The best first objective of the tuning trials that were trained to the end."""
        return self._best["values"][0] if self._best else None

    @property
    def total(self) -> int:
        """How many trials it has in all (an upper bound while all of tuning may still fail)."""
        return self._trials + self._confirming

    @property
    def done(self) -> bool:
        """Whether all of them have ended; without a best configuration there is nothing to confirm."""
        tuned = len(self.tuned) >= self._trials or len(self.tuned) + self._refused >= self._draws
        return tuned and (self.best is None or len(self.confirmed) >= self._confirming)


class SweepStatus:
    """How far a sweep has come.

    Args:
        name: of the sweep.
        records: its records.

    Raises:
        StorageError: ``suite.json`` cannot be read.
    """

    def __init__(self, name: str, records: Records) -> None:
        self.name, self.records = name, records
        recorded = read_suite_file(records.storage, "suite", "studies", "provenance")
        self.rows = records.summary()
        try:
            self.started = recorded["provenance"]["started"]
            self.studies = [
                StudyStatus(study, recorded["suite"], [row for row in self.rows if (row["entry"], row["data"]) == of])
                for study in _described(recorded, records)
                for of in [(study["entry"], study["data"])]
            ]
        except (KeyError, IndexError) as error:
            raise DamagedSuiteError(records.storage, f"lacks {error}") from None

    @property
    def total(self) -> int:
        """How many trials it has in all."""
        return sum(study.total for study in self.studies)

    @property
    def failures(self) -> list[str]:
        """The trials that failed, a line each."""
        return [f"failed {row['key']}: {row['reason']}" for row in self.rows if row["status"] == "failed"]

    @property
    def state(self) -> str:
        """Complete, running or interrupted."""
        if all(study.done for study in self.studies):
            return "complete"
        driver = last_driver(self.records.storage)
        if driver is None or driver.gone:
            return f"interrupted: regbench resume {self.name}"
        if not driver.known:
            return f"interrupted, unless it is running on another machine: regbench resume {self.name}"
        return "running" if driver.here else f"running on {driver.host}, unless it was killed there"


def _described(recorded: dict[str, Any], records: Records) -> list[dict[str, Any]]:
    """The studies of a sweep; an older version's file does not tell how many trials they have."""
    described: list[dict[str, Any]] = recorded["studies"]
    if all("trials" in study for study in described):
        return described
    # Imports the methods.
    from regbench.platform.suite.plan import studies
    from regbench.platform.suite.recorded import recorded_suite

    return [study.describe() for study in studies(recorded_suite(recorded, records))]


def overview(storage: Storage) -> list[Table | str]:
    """All sweeps of a storage folder, a line each in a table, and below it why one cannot be read."""
    names = sweep_names(storage)
    if not names:
        return [f"No sweeps in {storage.uri}. Start one with: regbench sweep quickstart"]
    table = Table(header_style="dim", title=Text(f"Sweeps in {storage.uri}"), title_justify="left")
    for column in ("sweep", "state", "ended", "failed", "started"):
        table.add_column(column)
    problems: list[str] = []
    for name in names:
        try:
            found = SweepStatus(name, open_sweep(name, storage))
            row = (found.state, f"{len(found.rows)}/{found.total}", str(len(found.failures) or ""), found.started)
        except RegbenchError as error:
            row = ("cannot be read, see below", "", "", "")
            problems.append(f"{name}: {error}")
        table.add_row(*map(Text, (name, *row)))
    return [table, *problems]


def sweep_status(name: str, storage: Storage) -> Group:
    """One sweep: each study's trials by state, and the reasons of failed ones.

    Raises:
        ConfigError: there is no such sweep.
    """
    records = open_sweep(name, storage)
    found = SweepStatus(name, records)
    table = Table(header_style="dim", title=Text(f"{name}: {found.state}"), title_justify="left")
    for column in ("study", "completed", "stopped", "failed", "unfinished", "confirmed", "best validation"):
        table.add_column(column)
    ended = {row["key"] for row in found.rows}
    unfinished = Counter(trial.study for trial in records.planned() if trial.key not in ended)
    for study in found.studies:
        tuned = Counter(row["status"] for row in study.tuned)
        confirmed = sum(row["status"] == "completed" for row in study.confirmed)
        table.add_row(
            Text(study.name),
            *(str(tuned[status] or "") for status in ("completed", "stopped", "failed")),
            str(unfinished[study.name] or ""),
            str(confirmed or ""),
            "" if study.best is None else f"{study.best:.4g}",
        )
    return Group(table, *map(Text, found.failures), *map(Text, _damaged(records)))


def _damaged(records: Records) -> list[str]:
    """The trials that a resumed sweep plans anew."""
    return [f"damaged {key}: trials/{key}.json cannot be read, `regbench resume` plans it anew" for key in records.damaged()]
