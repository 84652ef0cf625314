"""How far sweeps have come, read from their records alone."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from regbench.methods.errors import RegbenchError
from regbench.platform.records.choice import chosen_trial, confirming, contenders
from regbench.platform.records.lease import last_driver
from regbench.platform.records.plugins import activate_kept
from regbench.platform.records.records import COMPARED, Records, study_name, study_of
from regbench.platform.records.storage import Storage
from regbench.platform.records.suite_file import DamagedSuiteError, read_suite_file
from regbench.platform.records.sweeps import open_sweep, sweep_names
from regbench.platform.undecided import undecided

Row = Mapping[str, Any]


class StudyStatus:
    """A study of a sweep in one replicate: what it plans and which of its trials have ended.

    Args:
        described: as ``suite.json`` describes it.
        suite: the suite's keys.
        replicate: its number.
        rows: of the study's trials that have ended.

    Attributes:
        in_any_case: whether it is run whatever is decided; others may be overtaken by a decision, and are left as they are.
    """

    def __init__(self, described: dict[str, Any], suite: dict[str, Any], replicate: int, rows: list[Row]) -> None:
        self.name = study_name(described["entry"], described["data"], replicate)
        self.in_any_case = replicate < suite.get("replicates", 1)
        self.tuned = [row for row in rows if row["stage"] == "tune" and row["status"] != "refused"]
        self.choosing = [row for row in rows if row["stage"] == "choose"]
        self._refused = sum(row["status"] == "refused" for row in rows)
        choose = suite.get("choose")
        self._chosen = chosen_trial(rows, choose)
        self.confirmed = confirming(rows, self._chosen) if self._chosen else []
        self._trials, seeds = described["trials"], suite["confirm"]["seeds"]
        self._draws = described.get("draws", self._trials)
        self._confirming = seeds * (2 if suite["confirm"]["ablate"] and described["weights"] else 1)
        self._to_choose = 0
        if choose:
            among = len(contenders(rows, choose["top"])) if self._is_tuned else min(self._trials, choose["top"])
            self._to_choose = choose["seeds"] * among if among > 1 else 0

    @property
    def best(self) -> float | None:
        """The first objective of the tuning trial whose configuration is chosen, as far as is known."""
        return self._chosen["values"][0] if self._chosen else None

    @property
    def total(self) -> int:
        """How many trials it has in all, as far as it is known (an upper bound while all of tuning may still fail)."""
        return self._trials + self._to_choose + max(self._confirming, len(self.confirmed))

    @property
    def _is_tuned(self) -> bool:
        return len(self.tuned) >= self._trials or len(self.tuned) + self._refused >= self._draws

    @property
    def done(self) -> bool:
        """Whether all of them have ended; without a best configuration there is nothing to confirm."""
        confirmed = len(self.choosing) >= self._to_choose and len(self.confirmed) >= self._confirming
        return self._is_tuned and (self.best is None or confirmed)


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
        with suppress(RegbenchError):
            activate_kept(records.storage, recorded.get("plugins") or [])
        self.rows = records.summary(*(COMPARED if recorded["suite"].get("until") else ()))
        try:
            self.started = recorded["provenance"]["started"]
            described = _described(recorded, records)
            self.studies = list(_studies(described, recorded["suite"], self.rows))
            self.open = undecided(described, recorded["suite"], self.rows) if recorded["suite"].get("until") else []
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
        if all(study.done for study in self.studies if study.in_any_case) and not self.open:
            return "complete"
        driver = last_driver(self.records.storage)
        if driver is None or driver.gone:
            return f"interrupted: regbench resume {self.name}"
        if not driver.known:
            return f"interrupted, unless it is running on another machine: regbench resume {self.name}"
        return "running" if driver.here else f"running on {driver.host}, unless it was killed there"


def _studies(described: list[dict[str, Any]], suite: dict[str, Any], rows: Sequence[Row]) -> Iterator[StudyStatus]:
    """The studies of the replicates that are run in any case, and of those that have begun."""
    of_study: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_study[study_of(row)].append(row)
    in_any_case = suite.get("replicates", 1)
    for replicate in range(max([in_any_case, *(1 + (row["replicate"] or 0) for row in rows)])):
        for study in described:
            found = of_study[study_name(study["entry"], study["data"], replicate)]
            if replicate < in_any_case or found:
                yield StudyStatus(study, suite, replicate, found)


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
    chooses = any(study.choosing for study in found.studies)
    columns = (
        "study",
        "completed",
        "stopped",
        "failed",
        "unfinished",
        *(["chosen"] if chooses else []),
        "confirmed",
        "best validation",
    )
    for column in columns:
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
            *([f"from {len(study.choosing)}" if study.choosing else ""] if chooses else []),
            str(confirmed or ""),
            "" if study.best is None else f"{study.best:.4g}",
        )
    return Group(table, *map(Text, (*found.open, *found.failures, *_damaged(records))))


def _damaged(records: Records) -> list[str]:
    """The trials that a resumed sweep plans anew."""
    return [f"damaged {key}: trials/{key}.json cannot be read, `regbench resume` plans it anew" for key in records.damaged()]
