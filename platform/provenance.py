"""What ``suite.json`` is told: with what a sweep is started, and with what else it is continued: versions, code, machine."""

import datetime
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from regbench.methods import memory, plugins
from regbench.platform.records.plugins import describe as describe_plugin
from regbench.platform.records.records import Records
from regbench.platform.records.suite_file import FILE, read_suite_file
from regbench.platform.records.tables import SCHEMA_VERSION
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite

PACKAGES = ("regbench", "torch", "ray", "optuna", "mlflow", "pyarrow")
# What may change the numbers.
DECISIVE = ("regbench", "torch", "optuna", "python", "git")


def describe(suite: Suite, planned: list[Study]) -> dict[str, Any]:
    """What ``suite.json`` holds: the suite, its studies, and what it was started with."""
    return {
        "schema": SCHEMA_VERSION,
        "id": uuid.uuid4().hex,
        "suite": suite.model_dump(mode="json"),
        "studies": [study.describe() for study in planned],
        "files": contents(suite),
        "memory": in_memory(planned),
        "plugins": [describe_plugin(plugin) for plugin in plugins.active().values()],
        "provenance": provenance(),
    }


def contents(suite: Suite) -> dict[str, str]:
    """Digests of what a suite has in files: of data sets by name, of weights and language models by path."""
    data = {name: spec.digest() for name, spec in suite.files.items()}
    return data | {path: plugins.digest(Path(path)) for path in suite.paths}


def in_memory(planned: list[Study]) -> list[str]:
    """The names in studies of what exists in this process's memory alone, sorted."""
    named = set(_texts([study.describe() for study in planned]))
    return [name for name in memory.names() if name in named]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def provenance() -> dict[str, Any]:
    """Versions, git commit, machine and time of this process."""
    return {name: version(name) for name in PACKAGES} | {
        "python": sys.version.split()[0],
        "git": _git_commit(),
        "host": socket.gethostname(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def note_changes(records: Records, console: Console) -> None:
    """Says what has changed since a sweep was last run, where that may change its numbers, and notes it in ``suite.json``."""
    recorded = read_suite_file(records.storage)
    before, now = [recorded.get("provenance") or {}, *recorded.get("resumed", [])][-1], provenance()
    # A commit is known only where a sweep is run in a checkout, and older versions did not note everything.
    changed = [name for name in DECISIVE if before.get(name) and now[name] and str(before[name]) != str(now[name])]
    if not changed:
        return
    told = ", ".join(f"{name} {_short(name, before[name])} → {_short(name, now[name])}" for name in changed)
    console.print(
        f"Changed since this sweep was last run: {told}. What is left is trained with what is here now; the report says so.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    resumed = [*recorded.get("resumed", []), now]
    records.storage.write(FILE, json.dumps(recorded | {"resumed": resumed}, indent=1).encode())


def _short(name: str, value: Any) -> str:
    return str(value)[:10] if name == "git" else str(value)


def _git_commit() -> str | None:
    """The commit of the folder that the sweep is started from, where it is a git checkout."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
