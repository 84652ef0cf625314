"""The command that tells how much is to be run."""

from typing import TYPE_CHECKING, Annotated

import typer

from regbench.platform.cli.options import DEFAULT_STORAGE, CpusOption, PowerArgument, StorageOption, app, terminal

if TYPE_CHECKING:
    from regbench.platform.records.records import Records
    from regbench.platform.records.storage import Storage

PILOT = {"replicates": 2, "until": None, "at_most": None, "relevant": None}


@app.command()
def power(
    name: PowerArgument,
    difference: Annotated[float, typer.Option(help="the difference to be shown, in the unit of the judged metric")] = 0.005,
    chance: Annotated[float, typer.Option("--power", help="with what chance", min=0.05, max=0.99)] = 0.8,
    storage: StorageOption = DEFAULT_STORAGE,
    cpus: CpusOption = None,
) -> None:
    """Say how many replicates and seeds a difference needs, from a sweep's variances, or from a pilot of a suite."""
    from regbench.methods.errors import ConfigError
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import open_sweep, sweep_names

    if not difference > 0:
        raise ConfigError(f"a difference of {difference:g} needs nothing: give a positive one, such as --difference 0.005")
    store = Storage(storage)
    records = open_sweep(name, store) if name in sweep_names(store) else _pilot(name, store, cpus)
    from regbench.platform.comparison.power import power_page

    terminal().print(power_page(records, difference, chance))


def _pilot(suite: str, store: "Storage", cpus: int | None) -> "Records":
    """The records of a pilot of a suite, two replicates of two seeds or more, which is run if it is not there."""
    from regbench.platform import sweep as engine
    from regbench.platform.records.sweeps import open_sweep, sweep_names
    from regbench.platform.suite.spec import parse_suite, read_suite

    spec = read_suite(suite)
    raw = spec.model_dump() | PILOT | {"name": f"{spec.name}-pilot"}
    raw["confirm"]["seeds"] = 2
    pilot, console = parse_suite(raw, suite), terminal()
    if pilot.name in sweep_names(store):
        outcome = engine.resume(pilot.name, store, "none", console, cpus=cpus)
    else:
        said = f"No sweep {suite} in {store.uri}: running its pilot, two replicates of two seeds, as {pilot.name}"
        console.print(said, soft_wrap=True)
        outcome = engine.start(pilot, store, "none", console, cpus=cpus)
    if not outcome.complete:
        console.print(f"Stopped. Nothing is lost: the same command goes on with {pilot.name}", soft_wrap=True)
        raise typer.Exit(130)
    return open_sweep(pilot.name, store)
