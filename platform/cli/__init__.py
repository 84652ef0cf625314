"""The command line. Heavy imports happen inside the commands, so that ``--help`` answers at once."""

import io
import signal
import sys
from types import FrameType

import typer

from regbench.methods.errors import RegbenchError
from regbench.platform.cli import looking, power, running, tracking
from regbench.platform.cli.options import app, data_app

app.add_typer(data_app, name="data")
__all__ = ["app", "looking", "main", "power", "running", "show_what_can_be_shown", "tracking"]


def show_what_can_be_shown() -> None:
    """Where a character cannot be shown, has another one shown: the work of hours must not end at an arrow."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _pass_over_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    """An interrupt that arrives while an object is cleared away cannot be raised there, and is nothing to tell of."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def main() -> None:
    """Runs the command line; a user's mistake ends with one line on standard error and exit status 2."""
    show_what_can_be_shown()
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        sys.unraisablehook = _pass_over_interrupts
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        app()
    except RegbenchError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
    except Exception:
        # A library that is interrupted while it is imported ends with an error of its own.
        if not interrupted:
            raise
        sys.exit(130)
    except KeyboardInterrupt:
        # Between the last command's end and here.
        sys.exit(130)
    finally:
        if interrupted:
            # All is done, and Python takes a moment to end: one more Ctrl-C must not become a traceback or another status.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
