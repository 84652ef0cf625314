"""One driver a sweep: on this machine, and on another one that shares the storage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console

from regbench.methods.errors import ConfigError
from regbench.platform.records.lease import FILE, last_driver, only_driver
from regbench.platform.records.storage import Storage

QUIET = Console(quiet=True)
DRIVE = """
import signal, sys, time
from rich.console import Console
from regbench.platform.records.lease import only_driver
from regbench.platform.records.storage import Storage
signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[3] == "deaf" else signal.default_int_handler)
with only_driver(Storage(sys.argv[1]), Console(), beat_s=0.1, patience_s=float(sys.argv[2])):
    print("driving", flush=True)
    time.sleep(120)
"""
# A host name of its own is all that makes another machine of a process.
NEW_HOST = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]


def named_apart() -> bool:
    """Whether this process may give another one a host name of its own."""
    return bool(shutil.which("unshare")) and subprocess.run([*NEW_HOST, "true"], capture_output=True).returncode == 0


elsewhere = pytest.mark.skipif(not named_apart(), reason="needs the right to name a host")


@pytest.fixture
def drive(tmp_path):
    """Starts a process that drives the sweep, and waits until it does."""
    started = []

    def start(*prefix: str, ears: str = "open") -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, "-c", DRIVE, str(tmp_path), "2", ears]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        while "driving" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_an_orderly_end_leaves_no_driver(tmp_path):
    with only_driver(Storage(tmp_path), QUIET):
        assert last_driver(Storage(tmp_path)).pid == os.getpid()
    assert last_driver(Storage(tmp_path)) is None


def test_a_second_driver_on_this_machine_is_refused(tmp_path, drive):
    first = drive()
    with pytest.raises(ConfigError, match=f"running already, as process {first.pid}"), only_driver(Storage(tmp_path), QUIET):
        pass


def test_a_killed_driver_on_this_machine_is_replaced_at_once(tmp_path, drive):
    kill(drive())
    with only_driver(Storage(tmp_path), QUIET, patience_s=1e9):
        assert last_driver(Storage(tmp_path)).pid == os.getpid()


def test_a_process_that_has_got_the_number_of_a_killed_driver_does_not_count(tmp_path, drive):
    killed = drive()
    kill(killed)
    path = tmp_path / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": os.getppid()}))
    with only_driver(Storage(tmp_path), QUIET, patience_s=1.0):
        assert last_driver(Storage(tmp_path)).pid == os.getpid()


@elsewhere
def test_a_driver_on_another_machine_is_refused_a_second_one(tmp_path, drive):
    drive(*NEW_HOST)
    with pytest.raises(ConfigError, match="on elsewhere: stop that one first"), only_driver(Storage(tmp_path), QUIET):
        pass


@elsewhere
def test_a_driver_killed_on_another_machine_is_replaced_after_its_silence(tmp_path, drive):
    kill(drive(*NEW_HOST))
    began = time.monotonic()
    with only_driver(Storage(tmp_path), QUIET, patience_s=2.0):
        assert time.monotonic() - began >= 2.0
        assert last_driver(Storage(tmp_path)).host != "elsewhere"


@pytest.mark.parametrize("ears", ["open", "deaf"])
def test_a_driver_that_was_replaced_stops(tmp_path, drive, ears):
    first = drive(ears=ears)
    # As long as a suspended machine: the other takes it for ended.
    first.send_signal(signal.SIGSTOP)
    with only_driver(Storage(tmp_path), QUIET, patience_s=1.0):
        mine = last_driver(Storage(tmp_path))
        first.send_signal(signal.SIGCONT)
        _, errors = first.communicate(timeout=60)
        if ears == "open":
            assert "another process has taken the sweep over" in errors
        else:
            assert first.returncode == -signal.SIGTERM
        assert replace(last_driver(Storage(tmp_path)), beat=0) == mine
