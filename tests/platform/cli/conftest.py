"""What the tests of commands share."""

import pytest
from in_process import Here
from own_plugins import fresh

__all__ = ["fresh"]


@pytest.fixture
def here(monkeypatch, capsys) -> Here:
    for name in ("REGBENCH_STORAGE", "REGBENCH_TRACKING", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Here(monkeypatch, capsys)
