"""The command line. Heavy imports happen inside the commands, so that ``--help`` answers at once."""

import io
import sys

import typer

from regbench.methods.errors import RegbenchError
from regbench.platform.cli import looking, running, tracking
from regbench.platform.cli.options import app, data_app

app.add_typer(data_app, name="data")
__all__ = ["app", "looking", "main", "running", "show_what_can_be_shown", "tracking"]


def show_what_can_be_shown() -> None:
    """Where a character cannot be shown, has another one shown: the work of hours must not end at an arrow."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main() -> None:
    """Runs the command line; a user's mistake ends with one line on standard error and exit status 2."""
    show_what_can_be_shown()
    try:
        app()
    except RegbenchError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
