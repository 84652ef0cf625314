"""Examines methods by the clauses of their contract and prints what holds: ``regbench check``."""

import inspect
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from regbench.methods.contract import CLAUSES, NotApplicable, distributed
from regbench.methods.method import Method
from regbench.platform.execution.surroundings import failure
from regbench.platform.execution.trial import reset_process


def check(methods: Sequence[type[Method]], console: Console) -> bool:
    """Prints a line for each clause, and what broke it; returns whether all methods keep all clauses.

    Args:
        methods: what to examine, one after the other, and at the end all of them on two workers.
        console: where to print.
    """
    held = True
    for method in methods:
        console.print(method.slug, style="bold")
        for clause in CLAUSES:
            held &= _examine(clause, (method,), console)
    console.print("on two workers", style="bold")
    return _examine(distributed, methods, console) and held


def _examine(clause: Callable[..., None], methods: Sequence[type[Method]], console: Console) -> bool:
    """Runs one clause and prints its line; a method that raises anything breaks it."""
    reset_process(seed=0, threads=1)
    held, verdict, reason = True, ("ok    ", "green"), ""
    try:
        clause(*methods)
    except NotApplicable as nothing:
        verdict, reason = ("-     ", "dim"), f" ({nothing})"
    except Exception as error:
        held, verdict, reason = False, ("broken", "red"), f"\n         {failure(error)}"
    title = (inspect.getdoc(clause) or "").partition("\n")[0].replace("``", "`")
    console.print(Text.assemble("  ", verdict, f" {title}{reason}"), soft_wrap=True, highlight=False)
    return held
