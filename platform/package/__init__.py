"""regbench in Python and in notebooks: ``import regbench as rb``; see docs/python.md. All is loaded when it is asked for."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regbench.platform.python.objects import data, register
    from regbench.platform.python.single import list_methods, run
    from regbench.platform.python.sweeps import compare, load, sweep

__all__ = ["compare", "data", "list_methods", "load", "register", "run", "sweep"]

_HOMES = {
    **dict.fromkeys(("data", "register"), "objects"),
    **dict.fromkeys(("list_methods", "run"), "single"),
    **dict.fromkeys(("compare", "load", "sweep"), "sweeps"),
}


if not (Path(__file__).parent / "platform").is_dir():
    # In a checkout, the folders of the repository are the parts of the package.
    __path__.append(str(Path(__file__).parents[2]))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regbench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"regbench.platform.python.{_HOMES[name]}"), name)
