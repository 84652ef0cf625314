"""Some hundred mutated suites, and some mutated folders of sweeps: `benchmarks/fuzz.py` tries thousands."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import fuzz


@pytest.fixture(autouse=True)
def own_environment(monkeypatch) -> None:
    for name in ("REGBENCH_STORAGE", "REGBENCH_TRACKING", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_mutated_suites_are_taken_or_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(fuzz, "_affordable", lambda suite: False)
    found = list(fuzz.cases(200, 10_000, ("suite",)))
    assert [fault for _, _, fault in found if fault] == []
    outcomes = [outcome for _, outcome, _ in found]
    assert min(outcomes.count("refused"), outcomes.count("taken")) > 5


def test_a_mutated_sweep_is_resumed_or_refused_in_one_line():
    assert [fault for _, _, fault in fuzz.cases(5, 20_000, ("folder",)) if fault] == []
