"""Commands that train: one method here, a sweep here, a sweep on a cluster."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regbench.platform.cli.looking import print_comparison
from regbench.platform.cli.options import (
    DEFAULT_STORAGE,
    AddressOption,
    ChangesOption,
    ClusterOption,
    ContinueThereOption,
    CpusOption,
    DataOption,
    DetachOption,
    GpusOption,
    MethodArgument,
    PluginOption,
    SetOption,
    StorageOption,
    SuiteArgument,
    SweepArgument,
    TrackingOption,
    app,
    terminal,
)

if TYPE_CHECKING:
    from rich.console import Console

    from regbench.platform.launched import Distant
    from regbench.platform.records.storage import Storage
    from regbench.platform.suite.spec import Suite
    from regbench.platform.sweep import Outcome


@app.command()
def run(
    method: MethodArgument,
    settings: SetOption = None,
    data: DataOption = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the training")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
    test: Annotated[bool, typer.Option("--test", help="compute the test metrics at the end")] = False,
    off: Annotated[bool, typer.Option("--off", help="with every regularization weight switched off")] = False,
    diagnostics: Annotated[
        list[str] | None,
        typer.Option("--diagnostic", metavar="NAME", help="also measure this of its hidden representation: dse, dsmi, …"),
    ] = None,
    plugin: PluginOption = None,
) -> None:
    """Train one method once, here, and print its metrics."""
    from regbench.platform.inventory.inventory import inventory
    from regbench.platform.suite.changes import values
    from regbench.platform.suite.spec import parse_diagnostics

    found, given = inventory().method(method), values(settings or [])
    found.require_settings(given)
    if data is not None:
        inventory().require_fitting(data, found.track)
    from regbench.platform.execution.single import run_once

    asked = parse_diagnostics(diagnostics) if diagnostics else None
    run_once(method, given, data, seed=seed, device=device, test=test, off=off, diagnostics=asked, console=terminal())


@app.command()
def sweep(
    suite: SuiteArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    name: Annotated[str | None, typer.Option(help="name of the sweep; default: the suite's")] = None,
    continue_: Annotated[bool, typer.Option("--continue", help="continue the sweep if it exists already")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything and show what would run")] = False,
    changes: ChangesOption = None,
    plugin: PluginOption = None,
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
) -> None:
    """Run a suite: tune every method under the same budget, confirm on fresh seeds, compare."""
    from regbench.platform.suite.names import check_names, check_new

    spec, console = _suite(suite, name, changes, plugin), terminal()
    if dry_run:
        from regbench.platform.catalog import plan_table
        from regbench.platform.suite.outline import outline

        check_new(spec)
        if spec.brings_its_own:
            from regbench.platform.fitting import require_fitting
            from regbench.platform.suite.plan import studies

            require_fitting(spec, studies(spec))
        console.print(plan_table(spec, outline(spec), _timed(spec, storage)))
        return
    check_names(spec)
    from regbench.platform import sweep as engine
    from regbench.platform.mending import mend_suite_file
    from regbench.platform.records.records import Records
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import sweep_names

    store = Storage(storage)
    cluster: dict[str, Any] = {"address": address, "cpus": cpus, "gpus": gpus}
    if continue_ and spec.name in sweep_names(store):
        mend_suite_file(spec, Records(store.child(spec.name)), console)
        outcome = engine.resume(spec.name, store, tracking, console, spec, **cluster)
    else:
        outcome = engine.start(spec, store, tracking, console, **cluster)
    _conclude(spec.name, outcome, store, storage, tracking, console)


def _timed(spec: "Suite", storage: str) -> "tuple[str, float] | None":
    """A sweep of a suite, or its pilot, and the mean seconds of the trainings there; None where there is none."""
    from statistics import fmean

    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import open_sweep, sweep_names

    store = Storage(storage)
    there = sweep_names(store)
    for name in (spec.name, f"{spec.name}-pilot"):
        seconds = [row["seconds"] for row in open_sweep(name, store).summary() if row["seconds"]] if name in there else []
        if seconds:
            return name, fmean(seconds)
    return None


@app.command()
def resume(
    name: SweepArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    cluster: ContinueThereOption = None,
    detach: DetachOption = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="a key of the suite from now on: how it is run (execution, workers, resources.cpu, …), more trials, "
            "replicates or confirm.seeds, or until, at_most and relevant",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="train trials that failed again, from the start")
    ] = False,
    give_up: Annotated[
        bool,
        typer.Option("--give-up", help="let trials count as failed that lack memory, data, disk, a package or a device"),
    ] = False,
    plugin: PluginOption = None,
    accept_changed_plugin: Annotated[
        bool, typer.Option("--accept-changed-plugin", help="train what is left with what a plugin is now")
    ] = False,
) -> None:
    """Continue an interrupted sweep: nothing that has ended is run again."""
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.suite_file import read_suite_file
    from regbench.platform.records.sweeps import open_sweep
    from regbench.platform.suite.changes import changed, values

    place = _place(cluster, storage) if cluster is not None else None
    store, console = Storage(place.storage if place else storage), terminal()
    records = open_sweep(name, store)
    suite = changed(read_suite_file(records.storage, "suite")["suite"], values(changes)) if changes else None
    if place:
        from regbench.platform.launch import relaunch

        flags = ["--retry-failed"] * retry_failed + ["--give-up"] * give_up + [f"--set={change}" for change in changes or []]
        flags += ["--accept-changed-plugin"] * accept_changed_plugin
        arguments, accept = ["resume", name, *flags], accept_changed_plugin
        raise typer.Exit(relaunch(name, place, console, arguments, suite, accept_changed_plugin=accept, detach=detach))
    from regbench.platform import sweep as engine

    again = engine.Again(retry_failed=retry_failed, give_up=give_up, accept_changed_plugin=accept_changed_plugin)
    outcome = engine.resume(name, store, tracking, console, suite, again, address=address, cpus=cpus, gpus=gpus)
    _conclude(name, outcome, store, storage, tracking, console)


@app.command()
def extend(
    name: SweepArgument,
    suite: SuiteArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    cluster: ContinueThereOption = None,
    detach: DetachOption = False,
    plugin: PluginOption = None,
) -> None:
    """Make a sweep larger: more trials, seeds, methods or data. What has ended is kept; a new best is confirmed anew."""
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import open_sweep
    from regbench.platform.suite.names import check_names

    place = _place(cluster, storage) if cluster is not None else None
    store, console = Storage(place.storage if place else storage), terminal()
    open_sweep(name, store)
    spec = _suite(suite, name, None, plugin)
    check_names(spec)
    if place:
        from regbench.platform.launch import relaunch
        from regbench.platform.shipment import SUITE_FILE

        raise typer.Exit(relaunch(name, place, console, ["extend", name, SUITE_FILE], spec, detach=detach))
    from regbench.platform import sweep as engine

    outcome = engine.resume(name, store, tracking, console, spec, address=address, cpus=cpus, gpus=gpus)
    _conclude(name, outcome, store, storage, tracking, console)


@app.command()
def launch(
    suite: SuiteArgument,
    cluster: ClusterOption,
    name: Annotated[str | None, typer.Option(help="name of the sweep; default: the suite's")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, show every file and command, start nothing")
    ] = False,
    detach: DetachOption = False,
    changes: ChangesOption = None,
    plugin: PluginOption = None,
) -> None:
    """Run a suite on a cluster, as a job that does not need this terminal."""
    from regbench.clusters.kinds import Local, read_cluster
    from regbench.platform import launch as launcher

    spec, place = _suite(suite, name, changes, plugin), read_cluster(cluster)
    if isinstance(place, Local):
        launcher.pass_on_here(place)
        sweep(
            suite,
            place.storage,
            place.tracking,
            name,
            dry_run=dry_run,
            changes=changes,
            plugin=plugin,
            cpus=place.cpus,
            gpus=place.gpus,
        )
        return
    raise typer.Exit(launcher.launch(spec, place, terminal(), dry_run=dry_run, detach=detach))


@app.command()
def logs(name: SweepArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show the log of a launched sweep until it ends; leaving does not stop it."""
    from regbench.platform.launch import logs as show
    from regbench.platform.records.storage import Storage

    raise typer.Exit(show(name, Storage(storage), terminal()))


@app.command()
def stop(name: SweepArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Stop a launched sweep: it can be continued, and nothing that has ended is lost."""
    from regbench.platform.launch import find
    from regbench.platform.records.storage import Storage

    find(name, Storage(storage)).stop()
    terminal().print(f"Stopping. Continue with: regbench resume {name} --cluster FILE", soft_wrap=True, highlight=False)


def _suite(source: str, name: str | None, changes: list[str] | None, plugins: list[str] | None) -> "Suite":
    """A suite under another name, with other values of some keys, and more plugins."""
    from regbench.platform.suite.changes import changed, values
    from regbench.platform.suite.spec import parse_suite, prepared, read_suite

    suite = read_suite(source)
    if changes:
        suite = changed(suite.model_dump(), values(changes))
    suite = suite if name is None else parse_suite(suite.model_dump() | {"name": name}, "--name")
    return prepared(suite, Path(), plugins or [])


def _place(cluster: str, storage: str) -> "Distant":
    """The cluster on which a sweep is to be continued."""
    from regbench.clusters.kinds import Local, read_cluster
    from regbench.methods.errors import ConfigError

    place = read_cluster(cluster)
    if isinstance(place, Local):
        raise ConfigError(f"{cluster} is this machine: continue here, without --cluster")
    if storage not in (DEFAULT_STORAGE, place.storage):
        raise ConfigError(f"the cluster's storage is {place.storage}, not {storage}: it must be where the sweep is")
    return place


def _conclude(name: str, outcome: "Outcome", store: "Storage", storage: str, tracking: str | None, console: "Console") -> None:
    """Says how a sweep ended and what to do next; exits non-zero where it did not do its work."""
    from rich.text import Text

    def say(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True, highlight=False)

    place = "" if storage == DEFAULT_STORAGE else f" --storage {shlex.quote(storage)}"
    if not outcome.begun:
        say("Stopped before anything had begun: run the same command again.")
        raise typer.Exit(130)
    if outcome.comparison is None:
        say("Stopped. Nothing is lost: continue with ", (f"regbench resume {name}{place}", "bold"))
        raise typer.Exit(130)
    print_comparison(outcome.comparison, store.child(name).child("report"), console)
    if outcome.untuned:
        studies = ", ".join(f"{study} {ended}" for study, ended in outcome.untuned.items())
        say(f"The time limit has ended tuning: {studies}")
    if outcome.undecided:
        say(f"The time limit has left {outcome.undecided} comparisons open (see `regbench status {name}{place}`).")
    if outcome.untuned or outcome.undecided:
        say("Go on with ", (f"regbench resume {name}{place}", "bold"))
    for key, reason in outcome.failed.items():
        say(("failed", "yellow"), f" {key}: {reason}")
    if outcome.failed:
        say("Try those again: ", (f"regbench resume {name} --retry-failed{place}", "bold"))
    if outcome.tracking_problem:
        say(("MLflow is not up to date:", "yellow"), f" {outcome.tracking_problem}")
    elif tracking != "none":
        say("MLflow: ", (f"regbench ui{place}", "bold"))
    if outcome.barren:
        say((f"No trial of {', '.join(outcome.barren)} was trained to the end.", "red"))
    if outcome.unconfirmed:
        say((f"No confirmation of {', '.join(outcome.unconfirmed)} succeeded.", "red"))
    if outcome.barren or outcome.unconfirmed or outcome.tracking_problem:
        raise typer.Exit(1)
