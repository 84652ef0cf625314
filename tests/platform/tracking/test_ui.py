"""The pages of MLflow's UI that a sweep points to."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

from mlflow import MlflowClient
from tracked_sweep import finished

from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.ui import pages


def test_the_comparison_page_filters_the_confirmed_runs_of_this_sweep(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = finished(tmp_path)
    assert pages(records, uri) == {}
    Exporter(records, uri).sync(final=True)
    Exporter(finished(tmp_path / "other"), uri).sync(final=True)
    (page,) = pages(records, uri).values()
    experiment, _, query = page.removeprefix("/#/experiments/").partition("/runs?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    found = MlflowClient(uri).search_runs([experiment], asked["searchFilter"], order_by=[asked["orderByKey"]])
    assert [run.info.run_name for run in found] == ["ps_kd confirm 0 on digits"]


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_ui_ends_with_all_that_it_started(tmp_path):
    Exporter(finished(tmp_path), f"sqlite:///{tmp_path}/mlflow.db").sync(final=True)
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
    while alive(server):
        assert time.monotonic() < end, "a process is left behind"
        time.sleep(0.1)
    assert not listens(port)
