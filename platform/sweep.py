"""Runs a suite from start to end, or from where it was interrupted."""

import atexit
import gc
import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data.files.define import define_all
from regbench.platform.execution.aside import Aside, import_aside
from regbench.platform.execution.trial import Place
from regbench.platform.fitting import require_fitting
from regbench.platform.mending import drop_damaged, own_identity
from regbench.platform.progress import SweepProgress
from regbench.platform.provenance import contents, describe, in_memory, note_changes
from regbench.platform.records.lease import only_driver
from regbench.platform.records.plugins import keep, taken_up
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.records.suite_file import FILE, read_suite_file
from regbench.platform.records.sweeps import is_sweep, open_sweep
from regbench.platform.search.search import Search
from regbench.platform.suite.growth import grown_studies, grown_suite_file, growth
from regbench.platform.suite.names import check_new
from regbench.platform.suite.plan import Study, studies, with_overlaps
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
        unconfirmed: studies none of whose confirmations succeeded, though there were some.
        untuned: studies whose tuning the time limit has ended, with how many of their trials have ended.
        undecided: how many comparisons the time limit has left open.
        tracking_problem: why MLflow is not up to date, or None.
        begun: whether there is anything that could be continued.
    """

    comparison: "Comparison | None" = None
    failed: dict[str, str] = field(default_factory=dict)
    barren: list[str] = field(default_factory=list)
    unconfirmed: list[str] = field(default_factory=list)
    untuned: dict[str, str] = field(default_factory=dict)
    undecided: int = 0
    tracking_problem: str | None = None
    begun: bool = True

    @property
    def complete(self) -> bool:
        """Every trial has ended, and the report is written."""
        return self.comparison is not None


@dataclass(frozen=True)
class Plan:
    """A sweep that has been found in order: its suite, studies, plugins, and what ``suite.json`` is to hold if that changes."""

    suite: Suite
    studies: list[Study]
    plugins: list[dict[str, Any]]
    recorded: dict[str, Any] | None = None


@dataclass(frozen=True)
class Again:
    """What a resumed sweep does with trials that did not succeed.

    Attributes:
        retry_failed: train those again that failed.
        give_up: let a trial that its surroundings keep from running count as failed.
        accept_changed_plugin: train what is left with what a plugin is now.
    """

    retry_failed: bool = False
    give_up: bool = False
    accept_changed_plugin: bool = False


def start(suite: Suite, storage: Storage, tracking: str | None, console: Console, **cluster: Any) -> Outcome:
    """Runs a new sweep. Nothing is written before it is known that a trial can run.

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

    def plan() -> Plan:
        check_new(suite)
        planned = studies(suite)
        if is_sweep(storage, suite.name):
            open_sweep(suite.name, storage)
            raise ConfigError(
                f"sweep '{suite.name}' exists in {storage.uri}: continue it with `regbench resume {suite.name}`, "
                "or start another with --name"
            )
        storage.check()
        _check_tracking(uri)
        planned = with_overlaps(suite, planned)
        recorded = describe(suite, planned)
        return Plan(suite, planned, recorded["plugins"], recorded)

    try:
        return _run(plan, records, uri, console, cluster, Again())
    finally:
        records.storage.delete_empty()


def resume(
    name: str,
    storage: Storage,
    tracking: str | None,
    console: Console,
    suite: Suite | None = None,
    again: Again = Again(),
    **cluster: Any,
) -> Outcome:
    """Continues a sweep: unfinished trials first, from their checkpoints; what has ended is not run again.

    Args:
        name: of the sweep.
        storage: where it is.
        tracking: as for ``start``.
        console: as for ``start``.
        suite: what it is from now on, more of the same or run in another way; by default what it was.
        again: what to do with trials that did not succeed.
        **cluster: as for ``start``.

    Raises:
        RegbenchError: there is no such sweep, it cannot become that suite, or storage or tracking cannot be used.
    """
    records = open_sweep(name, storage)
    uri = _tracking_uri(storage, tracking)

    def plan() -> Plan:
        recorded = read_suite_file(records.storage, "suite", "studies")
        had, accept = recorded.get("plugins") or [], again.accept_changed_plugin
        plugins, changes = taken_up(records.storage, had, grown=suite is not None, accept=accept)
        before, planned = recorded_plan(records)
        if suite is not None:
            changes = growth(before, suite) + changes
            define_all(suite.files)
        files = contents(suite or before)
        _require_same_files(recorded.get("files") or {}, files, name)
        if not changes:
            _check_tracking(uri)
            return Plan(before, planned, plugins)
        now, grown = before, planned
        if suite is not None:
            check_new(suite)
            now, grown = suite, grown_studies(planned, with_overlaps(suite, studies(suite)))
        _check_tracking(uri)
        kept = sorted({*(recorded.get("memory") or []), *in_memory(grown)})
        recorded |= {"plugins": plugins, "files": files, "memory": kept}
        return Plan(now, grown, plugins, grown_suite_file(recorded, now, grown, changes))

    return _run(plan, records, uri, console, cluster, again)


def _require_same_files(before: dict[str, str], now: dict[str, str], name: str) -> None:
    """Refuses to go on where a data set in files, or weights, are others now: its trials could not be compared."""
    for given, digest in before.items():
        if now.get(given) != digest:
            what = f"what {given} holds has" if Path(given).is_absolute() else f"the files of data set '{given}' have"
            raise ConfigError(
                f"{what} changed since sweep '{name}' was started: restore it, or start another sweep with --name"
            )


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
    plan: Callable[[], Plan],
    records: Records,
    uri: str | None,
    console: Console,
    cluster: dict[str, Any],
    again: Again,
) -> Outcome:
    """Runs what ``plan`` returns, once that has found everything in order, and exports it to MLflow at ``uri``."""
    # At its end, a process looks for garbage among all that it has imported, which takes a second here and frees nothing.
    atexit.register(gc.freeze)
    comparison, begun = None, False
    try:
        with ExitStack() as export:
            # MLflow is imported while the suite is checked.
            live = export.enter_context(LiveExporter(uri)) if uri else None
            todo = plan()

            def begin() -> None:
                """From here on there is a sweep; called when a trial can run."""
                nonlocal begun
                keep(records.storage, todo.plugins)
                if todo.recorded:
                    records.storage.write(FILE, json.dumps(todo.recorded, indent=1).encode())
                begun = True
                if not search.done:
                    own_identity(records, console)
                    note_changes(records, console)
                if live:
                    live.export(records)
                search.limit(todo.suite.hours)

            # One process exports a sweep: the driver stays its driver until the last export has ended.
            with only_driver(records.storage, console), export.pop_all():
                begun = todo.recorded is None
                drop_damaged(records, console)
                if again.retry_failed:
                    _forget_failed(records)
                search = Search(todo.suite, todo.studies, records, give_up=again.give_up)
                report = Aside(partial(_publish, records))
                if search.done:
                    begin()
                else:
                    pending = [state.study for state in search.states.values() if not search.exhausted(state)]
                    require_fitting(todo.suite, pending, parts=not again.give_up)
                    with SweepProgress(search, console) as progress, suppress(KeyboardInterrupt):
                        place = _place(todo.suite, records.storage.uri, todo.plugins)
                        _execute(search, place, progress, _watch(search, progress, live), report, cluster, begin)
                if search.done:
                    # Before the last export, so that MLflow gets the report as an artifact.
                    comparison = report.result()
    except KeyboardInterrupt:
        # While the suite is checked, or in the middle of the report or of the last export, which a resumed sweep makes anew.
        return Outcome(begun=begun)
    return _outcome(search, comparison, live.problem if live else None, begun)


def _outcome(search: Search, comparison: "Comparison | None", tracking_problem: str | None, begun: bool) -> Outcome:
    states = search.states.values()
    rows = [row for state in states for row in state.ended.values()]
    return Outcome(
        comparison=comparison,
        failed={row["key"]: row["reason"] for row in rows if row["status"] == "failed"},
        barren=[state.study.name for state in states if state.tuned and state.best() is None],
        unconfirmed=[state.study.name for state in states if search.unconfirmed(state)],
        untuned={
            state.study.name: f"{state.tuned_trials} of {state.study.trials} trials"
            for state in search.in_any_case()
            if not state.tuned
        },
        undecided=len(search.open()),
        tracking_problem=tracking_problem,
        begun=begun,
    )


def _forget_failed(records: Records) -> None:
    for row in records.summary():
        if row["status"] == "failed":
            records.take_back(row["key"])


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


def _place(suite: Suite, storage: str, plugins: list[dict[str, Any]]) -> Place:
    return Place(
        storage=storage,
        threads=max(1, int(suite.resources.cpu)),
        device="auto",
        checkpoint_seconds=suite.checkpoint_seconds,
        diagnostics=suite.diagnostics.model_dump() if suite.diagnostics else None,
        plugins=plugins,
        files={name: spec.model_dump(mode="json", exclude_defaults=True) for name, spec in suite.files.items()},
    )


def _execute(
    search: Search,
    place: Place,
    progress: SweepProgress,
    watch: Watch,
    report: "Aside[Comparison]",
    options: dict[str, Any],
    begin: Callable[[], None],
) -> None:
    suite = search.suite
    if suite.execution == "inline":
        from regbench.platform.execution.inline import run_inline

        begin()
        with progress.interruptible("the last export"):
            run_inline(search, place, suite.retries, watch)
        return
    from regbench.platform.execution.ray_cluster import cluster

    with cluster(**options) as resources:
        from regbench.platform.execution.tune import capacity, run_tune

        slots = capacity(suite, resources)
        begin()
        with progress.interruptible("Ray to end its processes, and the last export"):
            run_tune(search, suite, place, slots, watch)
        if search.done:
            # While Ray ends its processes.
            report.start()
