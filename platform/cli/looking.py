"""Commands that only tell something. All but `check` and `data show` import no PyTorch, so they answer at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regbench.platform.cli.options import (
    DEFAULT_STORAGE,
    AnyMethodArgument,
    AnySweepArgument,
    DataArgument,
    MethodArgument,
    PluginOption,
    StorageOption,
    SweepsArgument,
    TrackOption,
    app,
    data_app,
    terminal,
)

if TYPE_CHECKING:
    from rich.console import Console

    from regbench.platform.comparison.frames import Comparison
    from regbench.platform.records.storage import Storage


@app.command("list")
def list_methods(track: TrackOption = None, plugin: PluginOption = None) -> None:
    """List the methods by track: papers, weights, what switches each weight off."""
    from regbench.platform.catalog import methods_table
    from regbench.platform.inventory.inventory import inventory

    for name in [track] if track else inventory().tracks:
        terminal().print(methods_table(name))


@app.command()
def show(method: MethodArgument, plugin: PluginOption = None) -> None:
    """Show one method: what it computes, its paper, its settings and what is searched."""
    from regbench.platform.catalog import method_page
    from regbench.platform.comparison.effects import effects_of, effects_page, note
    from regbench.platform.inventory.inventory import inventory

    console = terminal()
    console.print(method_page(inventory().method(method)))
    if text := note(method):
        from rich.markdown import Markdown

        console.print(Markdown(f"## When to use it\n\n{text}"))
    if effects_of(method):
        console.print(effects_page([method]))


@app.command()
def suites() -> None:
    """List the ready-made suites: what each compares, on what, and how long it takes."""
    from regbench.platform.catalog import suites_table

    terminal().print(suites_table())


@app.command()
def check(method: AnyMethodArgument = None, plugin: PluginOption = None) -> None:
    """Examine a method by the contract that all methods keep: a line for each clause, and what breaks it."""
    from regbench.platform.inventory.inventory import inventory

    if method:
        inventory().method(method)
    from regbench.methods.registry import all_methods, method_class
    from regbench.platform import check as examination

    methods = [method_class(method)] if method else list(all_methods().values())
    if not examination.check(methods, terminal()):
        raise typer.Exit(1)


@app.command()
def status(name: AnySweepArgument = None, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show how far sweeps have come, and what failed."""
    from regbench.platform.launch import job_line
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import require_folder
    from regbench.platform.status import overview, sweep_status

    store, console = Storage(storage), terminal()
    if name is None:
        if storage != DEFAULT_STORAGE:
            require_folder(store)
        for part in overview(store):
            # A command must not be broken into lines, or it cannot be copied.
            console.print(part, soft_wrap=isinstance(part, str), markup=False, highlight=False)
        return
    job = job_line(name, store)
    # A job that has just been handed over has no records yet.
    if job is not None:
        console.print(job, markup=False, highlight=False, soft_wrap=True)
    if job is None or store.exists(f"{name}/suite.json") or store.exists(f"{name}/trials"):
        console.print(sweep_status(name, store))


@app.command()
def compare(
    names: SweepsArgument = None,
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
        from regbench.platform.comparison.effects import effects_page, measured_methods
        from regbench.platform.comparison.papers import LEGEND, headlines, headlines_table

        console = terminal()
        console.print("What was measured of each paper's own claim", style="bold")
        console.print(headlines_table(headlines()))
        console.print(f"{LEGEND}\n", style="dim", highlight=False)
        console.print(effects_page(measured_methods()))
        return
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import open_sweep

    store = Storage(storage)
    records = [open_sweep(name, store) for name in dict.fromkeys(names or [])]
    from regbench.platform.comparison.report import publish

    own = records[0].storage.child("report") if len(records) == 1 else Storage("comparison")
    published = Storage(out) if out else own
    print_comparison(publish(records, published), published, terminal())


def print_comparison(comparison: "Comparison", published: "Storage", console: "Console") -> None:
    """Prints a comparison, and where its report is."""
    from regbench.platform.comparison import tables

    console.print(tables.terminal(comparison))
    console.print(f"Report: {published.uri}/report.html", soft_wrap=True, markup=False)


@data_app.command("list")
def data_list(plugin: PluginOption = None) -> None:
    """List the data sets, and whether their files are here."""
    from regbench.platform.catalog import data_table

    terminal().print(data_table())


@data_app.command("show")
def data_show(
    name: DataArgument,
    plugin: PluginOption = None,
    split: Annotated[int, typer.Option(min=0, help="the number of the split; 0 is the usual one")] = 0,
) -> None:
    """Show a data set: rows, classes and ranges of its splits, its columns, and a few rows or images."""
    from regbench.platform.inventory.inventory import inventory

    facts = inventory().data_set(name)
    from regbench.methods.shared.data import load
    from regbench.platform.data_page import data_page

    terminal().print(data_page(load(name, split), facts.help))


@data_app.command("where")
def data_where(name: DataArgument, plugin: PluginOption = None) -> None:
    """Say where a data set's files are, or where to put them."""
    from regbench.methods.shared.data import data_root
    from regbench.platform.inventory.inventory import inventory

    folder = inventory().data_set(name).folder
    if folder is None:
        typer.echo(f"{name} is embedded: it needs no files")
    else:
        typer.echo(str((data_root() or Path("$REGBENCH_DATA")) / folder))
