"""What the tests that break sweeps share: the fault harness, and the records of a sweep that nobody disturbed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HARNESS = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    spec = importlib.util.spec_from_file_location("faults", HARNESS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up.
    sys.modules["faults"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """What makes the sweep that is broken smaller than the benchmark's."""
    return {"trials": 2}


@pytest.fixture(scope="session")
def reference(faults, small, tmp_path_factory) -> Any:
    return faults.undisturbed(tmp_path_factory.mktemp("undisturbed"), **small)
