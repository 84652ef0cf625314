"""Runs a suite from start to end, or from where it was interrupted."""

import atexit
import gc
import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import load
from regbench.platform.execution.aside import Aside, import_aside
from regbench.platform.execution.trial import Place
from regbench.platform.inventory.inventory import inventory
from regbench.platform.mending import drop_damaged, own_identity
from regbench.platform.progress import SweepProgress
from regbench.platform.provenance import describe, note_changes
from regbench.platform.records.lease import only_driver
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import is_sweep, open_sweep
from regbench.platform.search.search import Search
from regbench.platform.suite.names import check_new
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.recorded import recorded_plan
from regbench.platform.suite.spec import Suite
from regbench.platform.tracking.live import LiveExporter

if TYPE_CHECKING:
    from regbench.platform.comparison.frames import Comparison

Watch = Callable[[Trial, Report | None], None]


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        comparison: of its entries, as published in its folder ``report``; None where not every trial has ended.
        failed: trials that failed, key and reason.
        barren: studies none of whose trials was trained to the end, so that there is nothing to confirm.
        tracking_problem: why MLflow is not up to date, or None.
    """

    comparison: "Comparison | None"
    failed: dict[str, str]
    barren: list[str]
    tracking_problem: str | None

    @property
    def complete(self) -> bool:
        """Every trial has ended, and the report is written."""
        return self.comparison is not None


def start(suite: Suite, storage: Storage, tracking: str | None, console: Console, **cluster: Any) -> Outcome:
    """Runs a new sweep.

    Args:
        suite: what to run.
        storage: where results go; the sweep gets a folder in it.
        tracking: MLflow's URI; None for a SQLite file in ``storage``; ``none`` for no MLflow.
        console: where progress is shown.
        **cluster: ``address``, ``cpus`` and ``gpus`` of `regbench.platform.execution.ray_cluster.cluster`.

    Raises:
        RegbenchError: the suite is wrong, the sweep exists already, or storage or tracking cannot be used.
    """
    records = Records(storage.child(suite.name))
    uri = _tracking_uri(storage, tracking)

    def plan() -> tuple[Suite, list[Study]]:
        check_new(suite)
        planned = studies(suite)
        if is_sweep(storage, suite.name):
            open_sweep(suite.name, storage)
            raise ConfigError(
                f"sweep '{suite.name}' exists in {storage.uri}: continue it with `regbench resume {suite.name}`, "
                "or start another with --name"
            )
        for name in sorted({study.data for study in planned}):
            # Embedded ones have no files that could be missing or damaged.
            if inventory().data[name].folder is not None:
                load(name)
        storage.check()
        _check_tracking(uri)
        records.storage.write("suite.json", json.dumps(describe(suite, planned), indent=1).encode())
        return suite, planned

    return _run(plan, records, uri, console, cluster)


def resume(name: str, storage: Storage, tracking: str | None, console: Console, **cluster: Any) -> Outcome:
    """Continues a sweep: unfinished trials first, from their checkpoints; what has ended is not run again.

    Raises:
        RegbenchError: there is no such sweep, or storage or tracking cannot be used.
    """
    records = open_sweep(name, storage)
    uri = _tracking_uri(storage, tracking)

    def plan() -> tuple[Suite, list[Study]]:
        suite, planned = recorded_plan(records)
        _check_tracking(uri)
        return suite, planned

    return _run(plan, records, uri, console, cluster)


def _tracking_uri(storage: Storage, tracking: str | None) -> str | None:
    if tracking == "none":
        return None
    from regbench.platform.tracking.connection import default_uri

    return tracking or default_uri(storage)


def _check_tracking(uri: str | None) -> None:
    if uri is not None:
        from regbench.platform.tracking.connection import check

        check(uri)


def _run(
    plan: Callable[[], tuple[Suite, list[Study]]],
    records: Records,
    uri: str | None,
    console: Console,
    cluster: dict[str, Any],
) -> Outcome:
    """Runs what ``plan`` returns, once that has found everything in order, and exports it to MLflow at ``uri``."""
    # At its end, a process looks for garbage among all that it has imported, which takes a second here and frees nothing.
    atexit.register(gc.freeze)
    comparison = None
    with ExitStack() as export:
        # MLflow is imported while the suite is checked.
        live = export.enter_context(LiveExporter(uri)) if uri else None
        suite, planned = plan()
        try:
            # One process exports a sweep: the driver stays its driver until the last export has ended.
            with only_driver(records.storage, console), export.pop_all():
                drop_damaged(records, console)
                search, report = Search(suite, planned, records), Aside(partial(_publish, records))
                if not search.done:
                    own_identity(records, console)
                    note_changes(records, console)
                if live:
                    live.export(records)
                if not search.done:
                    with SweepProgress(search, console) as progress, suppress(KeyboardInterrupt):
                        _execute(search, records, progress, _watch(search, progress, live), report, cluster)
                if search.done:
                    # Before the last export, so that MLflow gets the report as an artifact.
                    comparison = report.result()
        except KeyboardInterrupt:
            # In the middle of the report or of the last export, which a resumed sweep makes anew.
            return Outcome(comparison=None, failed={}, barren=[], tracking_problem=None)
    rows = [row for state in search.states.values() for row in state.ended.values()]
    return Outcome(
        comparison=comparison,
        failed={row["key"]: row["reason"] for row in rows if row["status"] == "failed"},
        barren=[state.study.name for state in search.states.values() if state.tuned and state.best() is None],
        tracking_problem=live.problem if live else None,
    )


def _publish(records: Records) -> "Comparison":
    from regbench.platform.comparison.report import publish

    # What is there by now stays: no search for garbage, some of which statistics' libraries ask for, has to look at it.
    gc.freeze()
    return publish(records, records.storage.child("report"))


def _watch(search: Search, progress: SweepProgress, live: LiveExporter | None) -> Watch:
    """What is told of every report and every end of a trial: shows it, and prepares the end of the sweep."""

    def watch(trial: Trial, report: Report | None) -> None:
        progress.watch(trial, report)
        if search.suite.execution != "inline":
            # While other processes train; earlier, it would keep them from starting.
            import_aside("regbench.platform.comparison.report")
        if live and search.done:
            live.catch_up()

    return watch


def _execute(
    search: Search,
    records: Records,
    progress: SweepProgress,
    watch: Watch,
    report: "Aside[Comparison]",
    options: dict[str, Any],
) -> None:
    suite = search.suite
    place = Place(
        storage=records.storage.uri,
        threads=max(1, int(suite.resources.cpu)),
        device="auto",
        checkpoint_seconds=suite.checkpoint_seconds,
    )
    if suite.execution == "inline":
        from regbench.platform.execution.inline import run_inline

        with progress.interruptible("the last export"):
            run_inline(search, place, watch)
        return
    from regbench.platform.execution.ray_cluster import cluster

    with cluster(**options) as resources:
        from regbench.platform.execution.tune import run_tune

        with progress.interruptible("Ray to end its processes, and the last export"):
            run_tune(search, suite, place, resources, watch)
        if search.done:
            # While Ray ends its processes.
            report.start()
