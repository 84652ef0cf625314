"""Lets tests load plugins in their process, each command as if in a process of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import Here

from regbench.methods import metrics, plugins
from regbench.methods.shared import data, factories


class Fresh(Here):
    """Runs each command as the first that sees plugins."""

    def __call__(self, folder: Path, *arguments: str) -> tuple[int, str, str]:
        forget(self.monkeypatch)
        return super().__call__(folder, *arguments)


def forget(patch: pytest.MonkeyPatch) -> None:
    """Makes this process as one that has seen no plugin, until the patch is undone."""
    for holder, name in ((plugins, "_active"), (plugins, "_imported"), (factories, "_registered"), (metrics, "_added")):
        patch.setattr(holder, name, {})
    data.discover()
    patch.setattr(data, "_sources", {name: source for name, source in data._sources.items() if not source.tracks})
    for module in [name for name in sys.modules if name.startswith((plugins.HOME, "my_package"))]:
        patch.delitem(sys.modules, module)
    _look_anew()


def _look_anew() -> None:
    plugins._installed.cache_clear()
    plugins.look_up_anew()
    data._loaded.cache_clear()


@pytest.fixture
def fresh(monkeypatch, capsys) -> Iterator[Fresh]:
    with monkeypatch.context() as patched:
        forget(patched)
        yield Fresh(patched, capsys)
    _look_anew()
