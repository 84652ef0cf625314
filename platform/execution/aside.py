"""What takes seconds, in a thread, while the main thread waits for other processes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


@cache
def import_aside(module: str) -> None:
    """Starts to import a module, once in a process; whoever imports it later waits for the rest."""
    Thread(target=import_module, args=[module], name=f"import {module}", daemon=True).start()


class Aside(Generic[T]):
    """Work that is done once, in a thread of its own: from ``start`` on, or when its result is asked for.

    Args:
        work: what to do.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done: Future[T] | None = None

    def start(self) -> None:
        """Starts, unless it has been started."""
        if self._done is None:
            self._done = ThreadPoolExecutor(1).submit(self._work)

    def result(self) -> T:
        """Waits for the result; raises what the work raised."""
        self.start()
        assert self._done
        return self._done.result()
