"""What the commands share: the application, their options, what completes them, the console."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

HELP = """Which regularizer, with which weight, really helps?

Published regularization methods, tuned under equal budgets, confirmed on fresh seeds, compared with honest statistics.

Start with:  regbench sweep quickstart   then   regbench compare quickstart   then   regbench ui
"""
DEFAULT_STORAGE = "regbench-results"

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="The data sets: which there are, and where their files are looked for.", no_args_is_help=True)


def _methods() -> list[tuple[str, str]]:
    from regbench.platform.inventory.inventory import inventory

    return [(method.slug, method.source or method.track) for method in inventory().methods.values()]


def _tracks() -> list[tuple[str, str]]:
    from regbench.platform.inventory.inventory import inventory

    return [(track.name, track.help) for track in inventory().tracks.values()]


def _data() -> list[tuple[str, str]]:
    from regbench.platform.inventory.inventory import inventory

    return [(data.name, data.help) for data in inventory().data.values()]


def _suites() -> list[str]:
    from regbench.search_spaces import ready_made_suites

    return [*ready_made_suites(), *sorted(map(str, Path().glob("*.y*ml")))]


def _clusters() -> list[str]:
    from regbench.clusters.kinds import ready_made_clusters

    return [*ready_made_clusters(), *sorted(map(str, Path().glob("*.y*ml")))]


def _sweeps(context: typer.Context) -> list[str]:
    from regbench.methods.errors import RegbenchError
    from regbench.platform.records.storage import Storage
    from regbench.platform.records.sweeps import sweep_names

    try:
        return sweep_names(Storage(context.params.get("storage") or DEFAULT_STORAGE))
    except RegbenchError:
        # Who presses a key reads no message.
        return []


def _settings(context: typer.Context) -> list[tuple[str, str]]:
    from regbench.platform.inventory.inventory import inventory

    # While `--set` has no value yet, what was typed before it has not been told apart.
    typed = context.params.get("method") or next(iter(context.args), "")
    method = inventory().methods.get(typed)
    return [(f"{setting.name}=", setting.help) for setting in method.settings] if method else []


def _activate(references: list[str] | None) -> list[str]:
    """Makes plugins' names known, and their references mean the same from anywhere."""
    from regbench.methods import plugins

    return plugins.use(references or [], Path())


def _own_data(text: str | None) -> str | None:
    """The name of a data set; what is said of one in files, in braces as in a suite, makes it known under their name."""
    if text is None or not text.startswith("{"):
        return text
    from regbench.methods.shared.data.files.define import define_own

    return define_own(text)


def _starting(found: list[Any], incomplete: str) -> list[Any]:
    """The candidates, names or names with help, that begin as what has been typed."""
    return [item for item in found if (item if isinstance(item, str) else item[0]).startswith(incomplete)]


MethodArgument = Annotated[
    str,
    typer.Argument(
        help="slug of a method, see `regbench list`", autocompletion=lambda incomplete: _starting(_methods(), incomplete)
    ),
]
AnyMethodArgument = Annotated[
    str | None,
    typer.Argument(
        help="slug of a method, see `regbench list`; default: all",
        autocompletion=lambda incomplete: _starting(_methods(), incomplete),
    ),
]
TrackOption = Annotated[
    str | None, typer.Option(help="only this track", autocompletion=lambda incomplete: _starting(_tracks(), incomplete))
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE|MODULE",
        help="your own methods, data sets, architectures, metrics: a Python file or folder, or a module; may be given several "
        "times",
        callback=_activate,
        is_eager=True,
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="data set, or one in your own files, such as '{csv: wine.csv, target: quality}'; default: the track's own",
        autocompletion=lambda incomplete: _starting(_data(), incomplete),
        callback=_own_data,
    ),
]
DataArgument = Annotated[
    str,
    typer.Argument(
        help="a data set, or one in your own files, such as '{csv: wine.csv, target: quality}'",
        autocompletion=lambda incomplete: _starting(_data(), incomplete),
        callback=_own_data,
    ),
]
SuiteArgument = Annotated[
    str,
    typer.Argument(
        help="a ready-made suite (quickstart, …; see `regbench suites`) or a YAML file",
        autocompletion=lambda incomplete: _starting(_suites(), incomplete),
    ),
]
SweepArgument = Annotated[
    str,
    typer.Argument(
        help="name of the sweep, see `regbench status`",
        autocompletion=lambda ctx, incomplete: _starting(_sweeps(ctx), incomplete),
    ),
]
PowerArgument = Annotated[
    str,
    typer.Argument(
        help="a sweep, see `regbench status`; or a suite, of which a pilot is run",
        autocompletion=lambda ctx, incomplete: _starting([*_sweeps(ctx), *_suites()], incomplete),
    ),
]
AnySweepArgument = Annotated[
    str | None,
    typer.Argument(help="a sweep; default: all", autocompletion=lambda ctx, incomplete: _starting(_sweeps(ctx), incomplete)),
]
SweepsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="one or more sweeps", autocompletion=lambda ctx, incomplete: _starting(_sweeps(ctx), incomplete)),
]
ClusterOption = Annotated[
    str,
    typer.Option(
        help="a cluster file, or a ready-made one's name (local, existing, aws, …)",
        autocompletion=lambda incomplete: _starting(_clusters(), incomplete),
    ),
]
ContinueThereOption = Annotated[
    str | None, typer.Option("--cluster", help="continue there: a cluster file or a ready-made one's name")
]
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
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="a setting; may be given several times",
        autocompletion=lambda ctx, incomplete: _starting(_settings(ctx), incomplete),
    ),
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="another value of a key of the suite, such as replicates=5 or confirm.seeds=10; may be given several times",
    ),
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


def terminal() -> "Console":
    """Where commands print. Names, paths and reasons are text: what looks like markup or an emoji's name stays as it is."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    # Piped into a file, nothing says how wide a line may be: tables get what they need.
    return console if console.is_terminal else Console(markup=False, emoji=False, width=max(console.width, 110))
