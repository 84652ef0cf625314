"""What a test refers to, directly or through fixtures and helpers, found by reading its code: what is costly is known by it."""

import dis
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

# Code that is read; other modules are named and not entered.
READ = tuple(str(Path(__file__).parents[1] / folder) for folder in ("tests", "benchmarks"))
# Whoever refers to these starts processes, servers or clusters.
PROCESSES = {
    "subprocess",
    "multiprocessing",
    "ray",
    "playwright.sync_api",
    "regbench.platform.execution.ray_cluster",
    "regbench.platform.tracking.live",
}
# Whoever refers to these trains: whole sweeps, trials, all that a contract asks, methods, learners; or draws whole pages.
TRAININGS = {
    "regbench.methods.shared.bilevel.hoag",
    "regbench.methods.shared.bilevel.maid",
    "regbench.platform.comparison.report",
    "regbench.platform.sweep",
    "regbench.platform.execution.trial",
    "regbench.platform.check",
    "regbench.methods.contract",
    "regbench.methods.run",
}


def reaches(item: pytest.Item, modules: set[str]) -> bool:
    """Whether a test refers to any of these modules, or to what they define."""
    functions = [getattr(item, "obj", None)]
    for definitions in item._fixtureinfo.name2fixturedefs.values():  # type: ignore[attr-defined]
        functions += [definition.func for definition in definitions]
    seen: set[int] = set()
    return any(name in modules for function in functions for name in named(function, seen))


def named(value: Any, seen: set[int]) -> Iterator[str]:
    """The modules that a value is from, or that the code of a function or class of the tests refers to."""
    value = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else value
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, ModuleType):
        yield value.__name__
        if str(getattr(value, "__file__", "")).startswith(READ):
            for part in vars(value).values():
                if isinstance(part, FunctionType | type) and part.__module__ == value.__name__:
                    yield from named(part, seen)
    elif isinstance(value, FunctionType) and value.__code__.co_filename.startswith(READ):
        names = _names(value.__code__)
        yield from names
        for name in names & value.__globals__.keys():
            yield from named(value.__globals__[name], seen)
    elif isinstance(value, type) and str(getattr(inspect.getmodule(value), "__file__", "")).startswith(READ):
        for part in vars(value).values():
            yield from named(part, seen)
    elif isinstance(value, FunctionType | type):
        yield str(value.__module__)


@cache
def _names(code: CodeType) -> frozenset[str]:
    """The globals and imports of a function's code, and of that of the functions that it defines."""
    own = (step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "IMPORT_NAME"))
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(own).union(*inner)
