"""What the tests that break sweeps share: the fault harness, and the records of a sweep that nobody disturbed."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import faults as harness


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    return harness


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """What makes the sweep that is broken smaller than the benchmark's."""
    return {"trials": 2}


@pytest.fixture(scope="session")
def reference(faults, small, tmp_path_factory) -> Any:
    return faults.undisturbed(tmp_path_factory.mktemp("undisturbed"), **small)
