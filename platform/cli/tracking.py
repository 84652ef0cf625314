"""Commands on MLflow: its UI, and bringing it up to date."""

from typing import Annotated

import typer

from regbench.platform.cli.options import (
    DEFAULT_STORAGE,
    AnySweepArgument,
    StorageOption,
    SweepArgument,
    TrackingOption,
    app,
    terminal,
)


@app.command()
def ui(
    name: AnySweepArgument = None,
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
    host: Annotated[str, typer.Option(help="address to listen on; only this machine by default")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the results (Ctrl-C ends it); of a sweep that is named, the pages of its studies are named, too."""
    from regbench.methods.errors import StorageError
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import open_sweep, sweep_names
    from regbench.platform.tracking.connection import default_uri
    from regbench.platform.tracking.ui import pages, serve

    store, console = Storage(storage), terminal()
    uri = tracking or default_uri(store)
    served = uri.startswith(("http://", "https://"))
    address = uri.rstrip("/") if served else f"http://{host}:{port}"
    console.print(f"MLflow UI: {address}" + ("" if served else "  (Ctrl-C ends it)"), soft_wrap=True, markup=False)
    if name:
        open_sweep(name, store)
    names = [name] if name else sweep_names(store)
    for each in names:
        try:
            found = pages(open_sweep(each, store), uri, trials=len(names) == 1)
        except StorageError as error:
            # The others are to be seen all the same.
            found = {}
            console.print(f"{each}: {error}", soft_wrap=True, highlight=False, markup=False)
        for shown, page in found.items():
            console.print(f"{shown}: {address}{page}", soft_wrap=True, highlight=False, markup=False)
    if served:
        return
    raise typer.Exit(serve(uri, host, port))


@app.command()
def sync(
    name: SweepArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    tracking: TrackingOption = None,
) -> None:
    """Bring MLflow up to date with a sweep's records; doing it twice adds nothing."""
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import open_sweep

    store = Storage(storage)
    records = open_sweep(name, store)
    from regbench.platform.tracking.connection import check, default_uri
    from regbench.platform.tracking.exporter import Exporter
    from regbench.platform.tracking.studies import read_tables

    uri = tracking or default_uri(store)
    check(uri)
    report = records.storage.child("report")
    if report.exists("entries.parquet") and read_tables(records.storage) is None:
        # Of an earlier version.
        from regbench.platform.comparison.report import publish

        publish([records], report)
    result = Exporter(records, uri).sync(final=True)
    terminal().print(f"{name}: {result}")
