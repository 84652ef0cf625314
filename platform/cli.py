"""The command line. Heavy imports happen inside the commands, so that ``--help`` answers at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from regbench.platform.comparison.compare import Comparison
    from regbench.platform.records.records import Records
    from regbench.platform.records.storage import Storage
    from regbench.platform.suite.spec import Suite
    from regbench.platform.sweep import Outcome

HELP = """Which regularizer, with which weight, really helps?

Published regularization methods, tuned under equal budgets, confirmed on fresh seeds, compared with honest statistics.

Start with:  regbench sweep quickstart   then   regbench compare quickstart   then   regbench ui
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="The data sets: which there are, and where their files are looked for.", no_args_is_help=True)
app.add_typer(data_app, name="data")

StorageOption = Annotated[
    str,
    typer.Option(
        "--storage", envvar="REGBENCH_STORAGE", help="folder or pyarrow.fs URI (s3://…, gs://…) that holds all sweeps"
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking",
        envvar=["REGBENCH_TRACKING", "MLFLOW_TRACKING_URI"],
        help="MLflow server or store; default: a SQLite file in the storage folder; none: no MLflow",
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a setting; may be given several times")
]
AddressOption = Annotated[
    str | None, typer.Option(help="address of a running Ray cluster; default: a private one on this machine")
]
CpusOption = Annotated[
    int | None,
    typer.Option(min=1, help="CPU cores of the private Ray cluster, default: all; with --address: what that may grow to"),
]
GpusOption = Annotated[
    int | None, typer.Option(min=0, help="GPUs of the private Ray cluster, default: all; with --address: what that may grow to")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="do not wait for the end")]
DEFAULT_STORAGE = "regbench-results"


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"regbench {version('regbench')}")
        raise typer.Exit


@app.callback()
def _main(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit")] = False,
) -> None:
    pass


def _console() -> "Console":
    from rich.console import Console

    console = Console()
    # Piped into a file, nothing says how wide a line may be: tables get what they need.
    return console if console.is_terminal else Console(width=max(console.width, 110))


@app.command("list")
def list_methods(track: Annotated[str | None, typer.Option(help="only this track")] = None) -> None:
    """List the methods by track: papers, weights, what switches each weight off."""
    from regbench.methods.errors import ConfigError, nearest
    from regbench.methods.registry import all_methods, tracks
    from regbench.platform.catalog import methods_table

    if track is not None and track not in tracks():
        raise ConfigError(f"unknown track '{track}'; {nearest(track, tracks())}")
    for name in [track] if track else sorted(tracks()):
        methods = [method for method in all_methods().values() if method.track.name == name]
        _console().print(methods_table(tracks()[name], methods))


@app.command()
def show(method: Annotated[str, typer.Argument(help="slug of a method, see `regbench list`")]) -> None:
    """Show one method: what it computes, its paper, its settings and what is searched."""
    from regbench.methods.registry import method_class
    from regbench.platform.catalog import method_page
    from regbench.platform.comparison.effects import effects_of, effects_page, note
    from regbench.search_spaces import space

    console = _console()
    console.print(method_page(method_class(method), space(method)))
    if text := note(method):
        from rich.markdown import Markdown

        console.print(Markdown(f"## When to use it\n\n{text}"))
    if len(effects_of(method)):
        console.print(effects_page([method]))


@app.command()
def run(
    method: Annotated[str, typer.Argument(help="slug of a method, see `regbench list`")],
    settings: SetOption = None,
    data: Annotated[str | None, typer.Option(help="data set; default: the track's own")] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the training")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
    test: Annotated[bool, typer.Option("--test", help="compute the test metrics at the end")] = False,
    off: Annotated[bool, typer.Option("--off", help="with every regularization weight switched off")] = False,
) -> None:
    """Train one method once, here, and print its metrics."""
    from regbench.platform.execution.single import run_once

    run_once(method, _settings(settings or []), data, seed=seed, device=device, test=test, off=off, console=_console())


@app.command()
def check(
    method: Annotated[str | None, typer.Argument(help="slug of a method, see `regbench list`; default: all")] = None,
) -> None:
    """Examine a method by the contract that all methods keep: a line for each clause, and what breaks it."""
    from regbench.methods.registry import all_methods, method_class
    from regbench.platform import check as examination

    methods = [method_class(method)] if method else list(all_methods().values())
    if not examination.check(methods, _console()):
        raise typer.Exit(1)


@app.command()
def sweep(
    suite: Annotated[str, typer.Argument(help="a ready-made suite (quickstart, …) or a YAML file")],
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    name: Annotated[str | None, typer.Option(help="name of the sweep; default: the suite's")] = None,
    continue_: Annotated[bool, typer.Option("--continue", help="continue the sweep if it exists already")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything and show what would run")] = False,
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
) -> None:
    """Run a suite: tune every method under the same budget, confirm on fresh seeds, compare."""
    from regbench.platform import sweep as engine
    from regbench.platform.records.storage import Storage
    from regbench.platform.suite.plan import studies
    from regbench.platform.suite.spec import read_suite

    spec = read_suite(suite)
    if name is not None:
        spec = _renamed(spec, name)
    console = _console()
    if dry_run:
        from regbench.platform.catalog import plan_table

        console.print(plan_table(spec, studies(spec)))
        return
    store = Storage(storage)
    cluster = {"address": address, "cpus": cpus, "gpus": gpus}
    if continue_ and spec.name in engine.sweeps(store):
        _require_same(spec, engine.open_sweep(spec.name, store))
        outcome = engine.resume(spec.name, store, tracking, console, **cluster)
    else:
        outcome = engine.start(spec, store, tracking, console, **cluster)
    _conclude(spec.name, outcome, store, storage, tracking, console)


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="name of the sweep, see `regbench status`")],
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    cluster: Annotated[str | None, typer.Option(help="continue there: a cluster file or a ready-made one's name")] = None,
    detach: DetachOption = False,
) -> None:
    """Continue an interrupted sweep: nothing that has ended is run again."""
    from regbench.platform import sweep as engine
    from regbench.platform.records.storage import Storage

    if cluster is not None:
        _relaunch(name, cluster, storage, detach)
    store, console = Storage(storage), _console()
    outcome = engine.resume(name, store, tracking, console, address=address, cpus=cpus, gpus=gpus)
    _conclude(name, outcome, store, storage, tracking, console)


@app.command()
def launch(
    suite: Annotated[str, typer.Argument(help="a ready-made suite (quickstart, …) or a YAML file")],
    cluster: Annotated[str, typer.Option(help="a cluster file, or a ready-made one's name (local, existing, aws, …)")],
    name: Annotated[str | None, typer.Option(help="name of the sweep; default: the suite's")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, show every file and command, start nothing")
    ] = False,
    detach: DetachOption = False,
) -> None:
    """Run a suite on a cluster, as a job that does not need this terminal."""
    from regbench.clusters.kinds import Local, read_cluster
    from regbench.platform import launch as launcher
    from regbench.platform.suite.spec import read_suite

    spec, place = read_suite(suite), read_cluster(cluster)
    if name is not None:
        spec = _renamed(spec, name)
    if isinstance(place, Local):
        launcher.pass_on_here(place)
        sweep(suite, place.storage, place.tracking, name, dry_run=dry_run, cpus=place.cpus, gpus=place.gpus)
        return
    raise typer.Exit(launcher.launch(spec, place, _console(), dry_run=dry_run, detach=detach))


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="name of a launched sweep")], storage: StorageOption = DEFAULT_STORAGE
) -> None:
    """Show the log of a launched sweep until it ends; leaving does not stop it."""
    from regbench.platform.launch import logs as show
    from regbench.platform.records.storage import Storage

    raise typer.Exit(show(name, Storage(storage), _console()))


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="name of a launched sweep")], storage: StorageOption = DEFAULT_STORAGE
) -> None:
    """Stop a launched sweep: it can be continued, and nothing that has ended is lost."""
    from regbench.platform.launch import find
    from regbench.platform.records.storage import Storage

    find(name, Storage(storage)).stop()
    _console().print(f"Stopping. Continue with: regbench resume {name} --cluster FILE", soft_wrap=True, highlight=False)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="a sweep; default: all")] = None, storage: StorageOption = DEFAULT_STORAGE
) -> None:
    """Show how far sweeps have come, and what failed."""
    from regbench.platform.launch import job_line
    from regbench.platform.records.storage import Storage
    from regbench.platform.status import overview, sweep_status

    store, console = Storage(storage), _console()
    if name is None:
        found = overview(store)
        # A command must not be broken into lines, or it cannot be copied.
        console.print(found, soft_wrap=isinstance(found, str))
        return
    job = job_line(name, store)
    # A job that has just been handed over has no records yet.
    if job is None or store.exists(f"{name}/suite.json"):
        console.print(sweep_status(name, store))
    if job is not None:
        console.print(job, markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    names: Annotated[list[str] | None, typer.Argument(help="one or more sweeps")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    out: Annotated[
        str | None,
        typer.Option(help="folder for report.html and the tables; default: the sweep's own, for several: comparison"),
    ] = None,
    effects: Annotated[
        bool, typer.Option("--effects", help="show instead what each method was measured to be worth, beside its paper's claim")
    ] = False,
) -> None:
    """Print the ranked comparison; write it as CSV, Parquet and one HTML page."""
    if effects == bool(names):
        from regbench.methods.errors import ConfigError

        raise ConfigError("name one or more sweeps (see `regbench status`), or ask for --effects alone")
    if effects:
        from regbench.platform.comparison.effects import effects_page, measured

        _console().print(effects_page(dict.fromkeys(measured()["method"])))
        return
    from regbench.platform.comparison.report import publish
    from regbench.platform.records.storage import Storage
    from regbench.platform.sweep import open_sweep

    store = Storage(storage)
    records = [open_sweep(name, store) for name in dict.fromkeys(names or [])]
    own = records[0].storage.child("report") if len(records) == 1 else Storage("comparison")
    published = Storage(out) if out else own
    _print_comparison(publish(records, published), published, _console())


@app.command()
def ui(
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    host: Annotated[str, typer.Option(help="address to listen on; only this machine by default")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the results (Ctrl-C ends it)."""
    import subprocess

    from regbench.platform.records.storage import Storage
    from regbench.platform.sweep import open_sweep, sweeps
    from regbench.platform.tracking.connection import default_uri
    from regbench.platform.tracking.ui import pages, ui_command

    store, console = Storage(storage), _console()
    uri = tracking or default_uri(store)
    served = uri.startswith(("http://", "https://"))
    address = uri.rstrip("/") if served else f"http://{host}:{port}"
    console.print(f"MLflow UI: [bold]{address}[/bold]" + ("" if served else "  (Ctrl-C ends it)"), soft_wrap=True)
    for name in sweeps(store):
        for track, page in pages(open_sweep(name, store), uri).items():
            console.print(f"compare {name}, {track}: {address}{page}", soft_wrap=True, highlight=False)
    if served:
        return
    command, environment = ui_command(uri, host, port)
    raise typer.Exit(subprocess.run(command, env=os.environ | environment, check=False).returncode)


@app.command()
def sync(
    name: Annotated[str, typer.Argument(help="name of the sweep, see `regbench status`")],
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
) -> None:
    """Bring MLflow up to date with a sweep's records; doing it twice adds nothing."""
    from regbench.platform.records.storage import Storage
    from regbench.platform.sweep import open_sweep
    from regbench.platform.tracking.connection import check, default_uri
    from regbench.platform.tracking.exporter import Exporter

    store = Storage(storage)
    uri = tracking or default_uri(store)
    check(uri)
    result = Exporter(open_sweep(name, store), uri).sync(final=True)
    _console().print(f"{name}: {result}")


@data_app.command("list")
def data_list() -> None:
    """List the data sets, and whether their files are here."""
    from regbench.platform.catalog import data_table

    _console().print(data_table())


@data_app.command("where")
def data_where(name: Annotated[str, typer.Argument(help="a data set")]) -> None:
    """Say where a data set's files are, or where to put them."""
    from regbench.methods.errors import ConfigError, nearest
    from regbench.methods.shared.data import data_root, sources

    if name not in sources():
        raise ConfigError(f"unknown data set '{name}'; {nearest(name, sources())}")
    folder = sources()[name].folder
    if folder is None:
        typer.echo(f"{name} is embedded: it needs no files")
    else:
        typer.echo(str((data_root() or Path("$REGBENCH_DATA")) / folder))


def _settings(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from regbench.methods.errors import ConfigError

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not '{pair}'")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key.strip()}: '{value}' is not a YAML value") from None
    return found


def _renamed(suite: "Suite", name: str) -> "Suite":
    from regbench.platform.suite.spec import parse_suite

    return parse_suite(suite.model_dump() | {"name": name}, "--name")


def _require_same(suite: "Suite", records: "Records") -> None:
    """Refuses to continue a sweep with another suite than the one that it was started with."""
    import json

    from regbench.methods.errors import ConfigError
    from regbench.platform.suite.spec import Suite, parse_suite

    started = parse_suite(json.loads(records.storage.read("suite.json"))["suite"], "suite.json")
    changed = [key for key in Suite.model_fields if key != "description" and getattr(suite, key) != getattr(started, key)]
    if changed:
        raise ConfigError(
            f"the suite differs in {', '.join(changed)} from the one that sweep '{suite.name}' was started with: "
            f"continue that one with `regbench resume {suite.name}`, or start another with --name"
        )


def _relaunch(name: str, cluster: str, storage: str, detach: bool) -> None:
    from regbench.clusters.kinds import Local, read_cluster
    from regbench.methods.errors import ConfigError
    from regbench.platform.launch import relaunch

    place = read_cluster(cluster)
    if isinstance(place, Local):
        raise ConfigError(f"{cluster} is this machine: continue here with `regbench resume {name}`, without --cluster")
    if storage not in (DEFAULT_STORAGE, place.storage):
        raise ConfigError(f"the cluster's storage is {place.storage}, not {storage}: it must be where the sweep is")
    raise typer.Exit(relaunch(name, place, _console(), detach=detach))


def _print_comparison(comparison: "Comparison", published: "Storage", console: "Console") -> None:
    from regbench.platform.comparison.tables import terminal

    console.print(terminal(comparison))
    console.print(f"Report: {published.uri}/report.html", soft_wrap=True)


def _conclude(name: str, outcome: "Outcome", store: "Storage", storage: str, tracking: str | None, console: "Console") -> None:
    """Says how a sweep ended and what to do next; exits non-zero where it did not do its work."""
    place = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    if outcome.comparison is None:
        console.print(f"Stopped. Nothing is lost: continue with [bold]regbench resume {name}{place}[/bold]", soft_wrap=True)
        raise typer.Exit(130)
    _print_comparison(outcome.comparison, store.child(name).child("report"), console)
    for key, reason in outcome.failed.items():
        console.print(f"[yellow]failed[/yellow] {key}: {reason}", soft_wrap=True, highlight=False)
    if outcome.tracking_problem:
        console.print(f"[yellow]MLflow is not up to date:[/yellow] {outcome.tracking_problem}", soft_wrap=True)
    elif tracking != "none":
        console.print(f"MLflow: [bold]regbench ui{place}[/bold]", soft_wrap=True)
    if outcome.barren:
        console.print(f"[red]No trial of {', '.join(outcome.barren)} was trained to the end.[/red]")
    if outcome.barren or outcome.tracking_problem:
        raise typer.Exit(1)


def main() -> None:
    """Runs the command line; a user's mistake ends with one line on standard error and exit status 2."""
    try:
        app()
    except Exception as error:
        # Not imported above: it brings torch with it, and `--help` answers at once.
        from regbench.methods.errors import RegbenchError

        if not isinstance(error, RegbenchError):
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
