"""What tests of one's own files share: commands in their process, each as if in one of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import Here
from registrations import forget, look_anew


class Fresh(Here):
    """Runs each command as the first that sees plugins."""

    def __call__(self, folder: Path, *arguments: str) -> tuple[int, str, str]:
        forget(self.monkeypatch)
        return super().__call__(folder, *arguments)


@pytest.fixture
def fresh(monkeypatch, capsys) -> Iterator[Fresh]:
    with monkeypatch.context() as patched:
        forget(patched)
        yield Fresh(patched, capsys)
    look_anew()
