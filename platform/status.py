"""How far sweeps have come, read from their records alone."""

import json
from collections import Counter
from typing import Any

from rich.console import Group
from rich.table import Table

from regbench.platform.records.lease import last_driver
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.search.search import Search
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import parse_suite
from regbench.platform.sweep import open_sweep, sweeps


def overview(storage: Storage) -> Table | str:
    """All sweeps of a storage folder, a line each."""
    names = sweeps(storage)
    if not names:
        return f"No sweeps in {storage.uri}. Start one with: regbench sweep quickstart"
    table = Table(header_style="dim", title=f"Sweeps in {storage.uri}", title_justify="left")
    for column in ("sweep", "state", "ended", "failed", "started"):
        table.add_column(column)
    for name in names:
        records = open_sweep(name, storage)
        search = _search(records)
        rows = _rows(search)
        failed = sum(row["status"] == "failed" for row in rows)
        started = json.loads(records.storage.read("suite.json"))["provenance"]["started"]
        table.add_row(name, _state(records, search), f"{len(rows)}/{search.total}", str(failed or ""), started)
    return table


def sweep_status(name: str, storage: Storage) -> Group:
    """One sweep: each study's trials by state, and the reasons of failed ones.

    Raises:
        ConfigError: there is no such sweep.
    """
    records = open_sweep(name, storage)
    search = _search(records)
    table = Table(header_style="dim", title=f"{name}: {_state(records, search)}", title_justify="left")
    for column in ("study", "completed", "stopped", "failed", "unfinished", "confirmed", "best validation"):
        table.add_column(column)
    unfinished = Counter(trial.study for trial in records.planned() if trial.key not in records.ended())
    for state in search.states.values():
        tuned = Counter(row["status"] for row in state.ended.values() if row["stage"] == "tune")
        confirmed = sum(row["stage"] != "tune" and row["status"] == "completed" for row in state.ended.values())
        best = state.best()
        table.add_row(
            state.study.name,
            *(str(tuned[status] or "") for status in ("completed", "stopped", "failed")),
            str(unfinished[state.study.name] or ""),
            str(confirmed or ""),
            f"{best['values'][0]:.4g}" if best else "",
        )
    failures = [f"failed {row['key']}: {row['reason']}" for row in _rows(search) if row["status"] == "failed"]
    return Group(table, *failures)


def _search(records: Records) -> Search:
    suite = parse_suite(json.loads(records.storage.read("suite.json"))["suite"], "suite.json")
    return Search(suite, studies(suite), records)


def _rows(search: Search) -> list[dict[str, Any]]:
    return [row for state in search.states.values() for row in state.ended.values()]


def _state(records: Records, search: Search) -> str:
    if search.done:
        return "complete"
    driver = last_driver(records.storage)
    if driver is None or driver.gone:
        return "interrupted: regbench resume " + search.suite.name
    return "running" if driver.here else f"running on {driver.host}, unless it was killed there"
