"""What is no trial's fault does not become its result, and every end is recorded, whatever a method throws."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from rich.console import Console

from regbench.methods.classification.label_smoothing import LabelSmoothing
from regbench.methods.errors import ConfigError, DataError, DivergedError, SurroundingsError
from regbench.platform import sweep as engine
from regbench.platform.execution import inline
from regbench.platform.execution.ray_cluster import cluster
from regbench.platform.execution.surroundings import LONGEST, failure, of_surroundings
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.status import SweepStatus
from regbench.platform.suite.spec import Suite, parse_suite

pytestmark = pytest.mark.timeout(900)
QUIET = Console(quiet=True)
BASE = {
    "name": "s",
    "methods": ["label_smoothing"],
    "data": ["digits_small"],
    "settings": {"epochs": 1},
    "trials": 3,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 2},
    "retries": 1,
}


def suite(**changes: object) -> Suite:
    return parse_suite(BASE | changes)


class Endless(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "error",
    [
        DataError("gone"),
        MemoryError(),
        OSError(errno.ENOSPC, "No space left on device"),
        ImportError("no module named x"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("can't start new thread"),
        RuntimeError("[/pytorch/third_party/gloo/pair.cc:598] Connection closed by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_missing_around_a_training_is_not_its_fault(error):
    assert of_surroundings(error)


@pytest.mark.parametrize(
    "error",
    [DivergedError("nan"), ConfigError("no"), ValueError("CUDA error"), RuntimeError("shapes"), SystemExit(0), Endless()],
    ids=lambda error: type(error).__name__,
)
def test_what_a_method_gets_wrong_is_its_fault(error):
    assert not of_surroundings(error)


@pytest.mark.parametrize(
    "error",
    [ValueError("\udcff\x00\x1b[31m\n" * 9999), Endless(), SystemExit(0), KeyError(), RuntimeError("[red] [/path]")],
    ids=lambda error: type(error).__name__,
)
def test_a_reason_is_one_printable_line_of_bounded_length(error):
    text = failure(error)
    assert text.isprintable()
    assert 0 < len(text) <= LONGEST + 50
    assert text.encode()


@pytest.fixture
def broken(monkeypatch) -> dict[str, object]:
    """Label smoothing that raises ``error`` when it trains, as long as there is one."""
    state: dict[str, object] = {"error": None, "left": 10**6}
    train = LabelSmoothing.train

    def faulty(self, run):
        if state["error"] is not None and state["left"]:
            state["left"] -= 1
            raise state["error"]
        yield from train(self, run)

    monkeypatch.setattr(LabelSmoothing, "train", faulty)
    monkeypatch.setattr(inline, "PAUSE_SECONDS", 0.0)
    return state


def test_a_trial_that_lacks_something_is_tried_again(tmp_path, broken):
    broken |= {"error": MemoryError(), "left": 1}
    outcome = engine.start(suite(), Storage(tmp_path), "none", QUIET)
    assert outcome.complete
    assert not outcome.failed


def test_a_sweep_that_lacks_something_stops_and_is_resumed(tmp_path, broken):
    broken["error"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SurroundingsError, match="No space left") as caught:
        engine.start(suite(), Storage(tmp_path), "none", QUIET)
    assert len(str(caught.value).splitlines()) == 1
    records = Records(Storage(tmp_path).child("s"))
    assert all(row["status"] == "completed" for row in records.trials().to_pylist())
    broken["error"] = None
    outcome = engine.resume("s", Storage(tmp_path), "none", QUIET)
    assert outcome.complete
    assert not outcome.failed


def test_giving_up_records_what_cannot_run_as_failed(tmp_path, broken):
    broken["error"] = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(SurroundingsError, match="--give-up"):
        engine.start(suite(), Storage(tmp_path), "none", QUIET)
    outcome = engine.resume("s", Storage(tmp_path), "none", QUIET, again=engine.Again(give_up=True))
    assert outcome.complete
    assert outcome.barren == ["label_smoothing-digits_small"]
    assert all("CUDA out of memory" in reason for reason in outcome.failed.values())


@pytest.mark.parametrize("error", [SystemExit(0), ValueError("\udcff[/x]"), Endless()], ids=lambda error: type(error).__name__)
def test_whatever_a_method_throws_ends_its_trial_with_a_reason(tmp_path, broken, error):
    broken["error"] = error
    outcome = engine.start(suite(), Storage(tmp_path), "none", QUIET)
    assert outcome.complete
    assert len(outcome.failed) == 3
    assert outcome.failed == {
        row["key"]: row["reason"] for row in Records(Storage(tmp_path).child("s")).summary() if row["status"] == "failed"
    }


def test_failed_trials_are_trained_again_when_asked(tmp_path, broken):
    broken["error"] = ValueError("a bug")
    assert len(engine.start(suite(), Storage(tmp_path), "none", QUIET).failed) == 3
    broken["error"] = None
    untouched = engine.resume("s", Storage(tmp_path), "none", QUIET)
    assert len(untouched.failed) == 3
    outcome = engine.resume("s", Storage(tmp_path), "none", QUIET, again=engine.Again(retry_failed=True))
    assert outcome.complete
    assert not outcome.failed
    fresh = tmp_path / "fresh"
    assert engine.start(suite(), Storage(fresh), "none", QUIET).complete
    assert _values(tmp_path) == _values(fresh)


def _values(folder: Path) -> dict[str, list[float]]:
    return {row["key"]: row["values"] for row in Records(Storage(folder).child("s")).summary()}


def test_a_sweep_none_of_whose_confirmations_succeeded_says_so(tmp_path, broken):
    # Three tuning trials of label smoothing, then its confirmations fail.
    train = LabelSmoothing.train

    def fails_on_test_data(self, run):
        if run.test:
            raise ValueError("no test")
        yield from train(self, run)

    LabelSmoothing.train = fails_on_test_data
    outcome = engine.start(suite(), Storage(tmp_path), "none", QUIET)
    assert outcome.complete
    assert outcome.unconfirmed == ["label_smoothing-digits_small"]


def test_an_end_that_cannot_be_written_is_a_failure_with_its_reason(tmp_path, monkeypatch):
    """A metric that JSON holds and Parquet does not."""
    train = LabelSmoothing.train

    def odd(self, run):
        for metrics in train(self, run):
            yield metrics | {"count": 10**400}

    monkeypatch.setattr(LabelSmoothing, "train", odd)
    outcome = engine.start(suite(), Storage(tmp_path), "none", QUIET)
    assert outcome.complete
    assert len(outcome.failed) == 3
    assert all("OverflowError" in reason for reason in outcome.failed.values())


@pytest.fixture(scope="module")
def houses(tmp_path_factory) -> Path:
    """A table of the public one's shape."""
    folder = tmp_path_factory.mktemp("data")
    table = np.random.default_rng(0).uniform(1, 2, size=(200, 9))
    (folder / "california_housing").mkdir()
    np.savetxt(folder / "california_housing" / "cal_housing.data", table, delimiter=",")
    return folder


HOUSES = {"methods": ["mean_squared_error"], "data": ["california_housing"], "trials": 1, "confirm": {"seeds": 1}}


def test_a_sweep_is_not_resumed_without_its_data(tmp_path, houses, monkeypatch):
    here = tmp_path / "data"
    shutil.copytree(houses, here)
    monkeypatch.setenv("REGBENCH_DATA", str(here))
    spec, storage = suite(**HOUSES), Storage(tmp_path)
    records = Records(storage.child("s"))
    records.storage.write("suite.json", json.dumps(engine.describe(spec, engine.studies(spec))).encode())
    shutil.rmtree(here / "california_housing")
    with pytest.raises(DataError, match="california_housing"):
        engine.resume("s", storage, "none", QUIET)
    assert not records.ended()
    shutil.copytree(houses, here, dirs_exist_ok=True)
    assert engine.resume("s", storage, "none", QUIET).complete


def test_a_node_without_the_data_stops_the_sweep_resumable(tmp_path, houses, monkeypatch):
    """The driver has the data; the workers, started with another environment, have not."""
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path / "nowhere"))
    with cluster(cpus=2, gpus=0):
        monkeypatch.setenv("REGBENCH_DATA", str(houses))
        with pytest.raises(SurroundingsError, match=r"cannot run here: .*california_housing"):
            engine.start(suite(**HOUSES, execution="tune"), Storage(tmp_path), "none", QUIET)
        records = Records(Storage(tmp_path).child("s"))
        assert not records.ended()
        assert len(records.log("mean_squared_error-california_housing-tune-0000").attempts) == 0
        assert "interrupted" in SweepStatus("s", records).state
        changed = suite(**HOUSES, execution="inline")
        assert engine.resume("s", Storage(tmp_path), "none", QUIET, changed).complete
        assert os.environ["REGBENCH_DATA"] == str(houses)


def test_under_tune_too_whatever_a_method_throws_ends_its_trial_with_a_reason(tmp_path):
    def misbehave() -> None:
        """Makes label smoothing end in another way for each value of its weight; pickled whole, since it is local."""
        from regbench.methods.classification.label_smoothing import LabelSmoothing

        train = LabelSmoothing.train

        def faulty(self, run):
            for metrics in train(self, run):
                if self.smoothing == 0.2:
                    raise SystemExit(0)
                if self.smoothing == 0.3:
                    raise ValueError("\udcff[/x]")
                yield metrics | ({"count": 10**400} if self.smoothing == 0.4 else {})

        LabelSmoothing.train = faulty

    space = {"smoothing": [0.1, 0.2, 0.3, 0.4], "learning_rate": [0.1], "weight_decay": [0.0]}
    ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env={"worker_process_setup_hook": misbehave})
    try:
        changes = {"methods": {"label_smoothing": {"space": space}}, "trials": 4, "execution": "tune"}
        outcome = engine.start(suite(**changes), Storage(tmp_path), "none", QUIET)
    finally:
        ray.shutdown()
    assert outcome.complete
    assert len(outcome.failed) == 3
    reasons = " ".join(outcome.failed.values())
    assert all(part in reasons for part in ("SystemExit(0)", "ValueError: \\udcff[/x]", "OverflowError"))
