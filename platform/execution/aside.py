"""Imports that take seconds, in a thread, while the main thread waits for other processes."""

from functools import cache
from importlib import import_module
from threading import Thread


@cache
def import_aside(module: str) -> None:
    """Starts to import a module, once in a process; whoever imports it later waits for the rest."""
    Thread(target=import_module, args=[module], name=f"import {module}", daemon=True).start()
