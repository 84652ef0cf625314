"""A sweep is made larger, run in another way, and given its failed trials again, by commands."""

from pathlib import Path

import pytest
import yaml

from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

SUITE = {
    "name": "tiny",
    "methods": ["label_smoothing"],
    "data": ["digits_small"],
    "settings": {"epochs": 1},
    "trials": 1,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 1},
}


@pytest.fixture
def folder(tmp_path, here) -> Path:
    """A folder in which a small suite was swept."""
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    here.succeeds(tmp_path, "sweep", "suite.yaml", "--tracking", "none")
    return tmp_path


def records(folder: Path) -> Records:
    return Records(Storage(folder / "regbench-results" / "tiny"))


def statuses(folder: Path) -> dict[str, str]:
    return {row["key"]: row["status"] for row in records(folder).summary()}


def test_a_sweep_is_extended_by_a_larger_suite_and_by_single_keys(folder, here):
    before = statuses(folder)
    (folder / "larger.yaml").write_text(yaml.safe_dump(SUITE | {"name": "other", "methods": ["label_smoothing", "mixup"]}))
    assert "mixup" in here.succeeds(folder, "extend", "tiny", "larger.yaml", "--tracking", "none")
    here.succeeds(folder, "resume", "tiny", "--set", "trials=2", "--set", "resources.cpu=1", "--tracking", "none")
    after = statuses(folder)
    assert after.items() >= before.items()
    assert {"mixup-digits_small-tune-0001", "label_smoothing-digits_small-tune-0001"} <= after.keys()
    assert "complete" in here.succeeds(folder, "status", "tiny")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["extend", "tiny", "other.yaml"], "differs in seed"),
        (["extend", "none", "suite.yaml"], "no sweep 'none'"),
        (["extend", "tiny", "none.yaml"], "cannot read suite none.yaml"),
        (["resume", "tiny", "--set", "seed=4"], "differs in seed"),
        (["resume", "tiny", "--set", "trials=0"], "trials: must be at least 1"),
        (["resume", "tiny", "--set", "confirm.seedz=2"], "did you mean 'seeds'?"),
        (["resume", "tiny", "--set", "nosuch.key=2"], "a suite has no such key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_another_sweep_is_refused_in_one_line(folder, here, arguments, reason):
    (folder / "other.yaml").write_text(yaml.safe_dump(SUITE | {"seed": 4}))
    before = statuses(folder)
    assert reason in here.refused(folder, *arguments, "--tracking", "none")
    assert statuses(folder) == before


def test_failed_trials_are_trained_again_by_an_option(folder, here):
    key = "label_smoothing-digits_small-ablate-0000"
    trial = records(folder).specification(key)
    assert trial
    records(folder).take_back(key)
    records(folder).finish(trial, "failed", "a fault that has been mended")
    assert "regbench resume tiny --retry-failed" in here.succeeds(folder, "resume", "tiny", "--tracking", "none")
    assert statuses(folder)[key] == "failed"
    here.succeeds(folder, "resume", "tiny", "--retry-failed", "--tracking", "none")
    assert set(statuses(folder).values()) == {"completed"}
