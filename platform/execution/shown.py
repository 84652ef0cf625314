"""Where progress can be drawn over itself."""

from importlib.util import find_spec

from rich.console import Console


def lively(console: Console) -> bool:
    """Whether a bar can move there: in a terminal, and in a notebook whose widgets are installed."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
