"""The pages of MLflow's UI that a sweep points to."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tracked_sweep import compared

from regbench.platform.tracking.exporter import Exporter


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_ui_names_its_pages_and_ends_with_all_that_it_started(tmp_path):
    Exporter(compared(tmp_path), f"sqlite:///{tmp_path}/mlflow.db").sync(final=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    regbench = Path(sys.executable).parent / "regbench"
    command = [regbench, "ui", "--storage", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + 240
        while not listens(port):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "the UI did not come up"
            time.sleep(0.2)
        (server,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        assert os.getpgid(server) == server
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, output
    for page in ("compare demo on digits", "tuning of cross_entropy on digits", "tuning of label_smoothing on digits"):
        assert f"{page}: http://127.0.0.1:{port}/#/experiments/" in output
    while alive(server):
        assert time.monotonic() < end, "a process is left behind"
        time.sleep(0.1)
    assert not listens(port)
