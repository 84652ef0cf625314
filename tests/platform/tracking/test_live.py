"""The export of a running sweep: what it cannot do, `regbench sync` does later; interrupts and kills leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tracked_sweep import dump, finished

from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.live import LiveExporter

# A driver: says who its companion is, and ends the export in order when it is interrupted.
DRIVER = """
import signal, sys, time
from contextlib import suppress
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.tracking.live import LiveExporter

signal.signal(signal.SIGINT, signal.default_int_handler)
with suppress(KeyboardInterrupt), LiveExporter(sys.argv[2]) as live:
    live.export(Records(Storage(sys.argv[1])))
    print(live._process.pid, flush=True)
    time.sleep(600)
print(live.problem, flush=True)
"""


def exported(records: Records, uri: str, patience_s: float = 120.0) -> str | None:
    """Exports records as at the end of a sweep; returns the problem."""
    with LiveExporter(uri, patience_s) as live:
        live.export(records)
    return live.problem


def comparable(uri: str) -> dict[str, object]:
    runs = dump(uri)
    return {name: (run["status"], run["params"], run["metrics"], run["artifacts"]) for name, run in runs.items()}


def test_an_outage_loses_nothing(tmp_path):
    """The server is dead during the sweep; a later export brings MLflow to where it would have been."""
    records = finished(tmp_path / "results")
    problem = exported(records, "http://127.0.0.1:9")
    assert problem is not None
    assert "regbench sync demo" in problem
    assert "\n" not in problem
    late, undisturbed = (f"sqlite:///{tmp_path}/{name}.db" for name in ("late", "undisturbed"))
    Exporter(records, late).sync(final=True)
    assert exported(records, undisturbed) is None
    assert comparable(late) == comparable(undisturbed)


def test_an_export_that_takes_too_long_is_given_up(tmp_path):
    problem = exported(finished(tmp_path), f"sqlite:///{tmp_path}/mlflow.db", patience_s=0.0)
    assert problem is not None
    assert "took over 0 s for a trial" in problem
    assert "regbench sync demo" in problem


def test_a_companion_that_dies_is_reported(tmp_path):
    with LiveExporter(f"sqlite:///{tmp_path}/mlflow.db") as live:
        live.export(finished(tmp_path))
        live._process.kill()
    assert live.problem is not None
    assert "ended with status -9" in live.problem
    assert "regbench sync demo" in live.problem


def test_what_is_there_is_exported_when_told(tmp_path):
    """A sweep that goes on is in MLflow before its end."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with LiveExporter(uri) as live:
        live.export(finished(tmp_path))
        live.catch_up()
        wait_until(lambda: live._exports == 3)
        assert len(dump(uri)) == 4
    assert live.problem is None


def test_a_companion_starts_without_pytorch():
    """Nor does it import what draws: a sweep waits for the last export."""
    code = (
        "import sys, regbench.platform.tracking.companion as c; print(*sorted({'torch', 'altair', 'ray'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_companion_without_a_sweep_leaves_nothing_behind(tmp_path):
    with LiveExporter(f"sqlite:///{tmp_path}/mlflow.db") as live:
        pass
    assert not running(live._process.pid)
    assert live.problem is None
    assert list(tmp_path.iterdir()) == []


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def driver(tmp_path):
    """A driver in a process group of its own, and the pid of its companion."""
    records = finished(tmp_path)
    command = [sys.executable, "-c", DRIVER, records.storage.uri, f"sqlite:///{tmp_path}/mlflow.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())
        with suppress(ProcessLookupError):
            process.kill()


def running(pid: int) -> bool:
    """Whether a process runs: one that ended and waits to be collected does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_end_of_a_killed_driver_is_its_companions(driver):
    process, companion = driver
    assert running(companion)
    process.kill()
    wait_until(lambda: not running(companion))


def test_an_interrupt_of_the_process_group_lets_the_export_be_completed(driver, tmp_path):
    process, _ = driver
    os.killpg(process.pid, signal.SIGINT)
    problem, _ = process.communicate(timeout=300)
    assert problem.strip() == "None"
    assert process.returncode == 0
    records = Records(Storage(tmp_path).child("demo"))
    assert Exporter(records, f"sqlite:///{tmp_path}/mlflow.db").sync(final=True).points == 0
