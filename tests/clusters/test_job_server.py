"""A sweep as a job of a real Ray cluster with token authentication, which has regbench from the job's runtime environment."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from regbench.clusters.ship import add_environment, zipped
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.shipment import pack
from regbench.platform.suite.spec import parse_suite

# Real clusters, which a loaded machine starts slowly.
pytestmark = pytest.mark.timeout(600)
BIN = Path(sys.executable).parent
DEADLINE = 270
# A user's own data set, in a file that the nodes do not have.
MINE = Path(__file__).parents[1] / "platform" / "cli" / "own" / "mine.py"
# Long enough to be left and stopped in the middle of its first trial.
LONG = {
    "name": "long",
    "plugins": ["mine.py"],
    "methods": ["cross_entropy"],
    "data": ["stripes"],
    "settings": {"epochs": 400, "batch_size": 4},
    "trials": 1,
    "sampler": "random",
    "confirm": {"seeds": 0},
    "checkpoint_seconds": 0,
}


@dataclass(frozen=True)
class Head:
    """A running head node: the folder of its files, where its job server answers, and its token."""

    folder: Path
    address: str
    token: str


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def environment(home: Path, **changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REGBENCH_", "MLFLOW_", "RAY_"))}
    path = f"{BIN}:{os.environ['PATH']}"
    return (
        kept | {"PATH": path, "HOME": str(home), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "RAY_worker_niceness": "0"} | changes
    )


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Iterator[Head]:
    # Ray puts sockets below this folder, whose paths must be short.
    folder = Path(f"/tmp/regbench-head-{os.getpid()}")
    folder.mkdir()
    home, token, port = tmp_path_factory.mktemp("home"), secrets.token_hex(32), free_port()
    command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", "--include-dashboard=true"]
    places = [f"--port={free_port()}", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={free_port()}"]
    log = folder / "head.log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("w") as output:
            return subprocess.Popen(
                [BIN / command[0], *command[1:], *places, f"--temp-dir={folder}"],
                env=environment(home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def answers() -> bool:
        with socket.socket() as probe:
            return "Ray runtime started" in log.read_text() and probe.connect_ex(("127.0.0.1", port)) == 0

    process = start()
    try:
        # Ray gives a node 30 seconds to start, which a busy machine may exceed.
        for _ in range(4):
            wait_until(lambda process=process: process.poll() is not None or answers())
            if process.poll() is None:
                break
            process = start()
        assert answers(), log.read_text()
        yield Head(folder, f"http://127.0.0.1:{port}", token)
    finally:
        process.terminate()
        process.wait()
        subprocess.run(["rm", "-rf", folder], check=True)


@dataclass(frozen=True)
class Desk:
    """A clean folder from which sweeps are launched, with a home of its own."""

    folder: Path
    head: Head

    def command(self, *arguments: str) -> list[str | Path]:
        return [BIN / "regbench", *arguments]

    def environment(self, **changes: str) -> dict[str, str]:
        return environment(self.folder, HUSH="hush4711", RAY_AUTH_TOKEN=self.head.token) | changes

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**changes),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def output(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def desk(head, tmp_path) -> Desk:
    (tmp_path / "results").mkdir()
    cluster = {"kind": "address", "address": head.address, "storage": str(tmp_path / "results"), "environment": ["HUSH"]}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(LONG))
    shutil.copy(MINE, tmp_path)
    return Desk(tmp_path, head)


def holding(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_job_outlives_its_client_is_stopped_and_continues(desk, head):
    results = desk.folder / "results"
    records = Records(Storage(results / "long"))
    client = subprocess.Popen(
        desk.command("launch", "long.yaml", "--cluster", "cluster.yaml"),
        cwd=desk.folder,
        env=desk.environment(),
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: bool(records.planned()))
    (trial,) = records.planned()
    key = trial.key
    wait_until(lambda: len(records.log(key).reports) >= 2)
    client.send_signal(signal.SIGKILL)
    client.wait()
    # The job has a copy, and so has the one that continues it.
    (desk.folder / "mine.py").unlink()
    before = len(records.log(key).reports)
    wait_until(lambda: len(records.log(key).reports) > before)
    job = json.loads((results / "long" / "job.json").read_text())["id"]
    desk.output("stop", "long", "--storage", str(results))
    # `logs` returns when the job has ended, as interrupted.
    assert desk.run("logs", "long", "--storage", str(results)).returncode == 130
    assert records.ended() == set()
    stopped_after = len(records.log(key).reports)
    resumed = datetime.now(UTC)
    shown = desk.output("resume", "long", "--cluster", "cluster.yaml")
    assert f"regbench from {head.folder}/session_" in shown
    (plugin,) = json.loads((results / "long" / "suite.json").read_text())["plugins"]
    assert plugin["root"].startswith(f"{head.folder}/session_")
    assert json.loads((results / "long" / "job.json").read_text())["id"] != job
    rows = records.trials().to_pylist()
    assert [(row["key"], row["status"], row["attempts"], row["rounds"]) for row in rows] == [(key, "completed", 2, 400)]
    # The second attempt began where the first one was stopped, but for a round that its end may have kept from the checkpoint.
    times = {row["round"]: row["time"] for row in records.curves().to_pylist()}
    assert times[stopped_after - 1] < resumed < times[stopped_after + 1]
    answers_from_anywhere_and_leaves_no_secret(desk, head, shown)


def answers_from_anywhere_and_leaves_no_secret(desk: Desk, head: Head, shown: str) -> None:
    results = desk.folder / "results"
    # From another folder, with nothing but the storage and the token.
    (desk.folder / "elsewhere").mkdir()
    elsewhere = Desk(desk.folder / "elsewhere", head)
    assert "SUCCEEDED" in elsewhere.output("status", "long", "--storage", str(results))
    assert "regbench from" in elsewhere.output("logs", "long", "--storage", str(results))
    logs = next(head.folder.glob("session_2*/logs"))
    for secret in (head.token, "hush4711"):
        assert secret not in shown
        assert holding(secret, results) == []
        assert holding(secret, logs) == []
    for token, says in (("", "demands a token and there is none here"), ("0" * 64, "refuses this token")):
        refused = elsewhere.run("logs", "long", "--storage", str(results), RAY_AUTH_TOKEN=token)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert says in refused.stderr
        assert head.token not in refused.stderr


def test_workers_find_zipped_code_and_the_shipped_environment(desk, head):
    code = desk.folder / "code"
    pack(code, parse_suite(LONG))
    add_environment(code, {"HUSH": "hush4711"})
    (code / "look.py").write_text(
        "import os, ray, regbench.methods\n"
        "@ray.remote\n"
        "def look():\n"
        "    import regbench.methods\n"
        "    return regbench.methods.__file__, os.environ['HUSH'], os.environ['RAY_CHDIR_TO_TRIAL_DIR']\n"
        "ray.init(address='auto', log_to_driver=False)\n"
        "print('found', *ray.get(look.remote()))\n"
    )
    name, content = zipped(code)
    (desk.folder / name).write_bytes(content)
    program = f"""
from regbench.clusters.kinds import read_cluster
from regbench.clusters.job_server import job_server
from regbench.clusters.environment import runtime_environment
cluster = read_cluster("cluster.yaml")
with job_server(cluster) as server:
    server.submit("look", ["python", "look.py"], runtime_environment(cluster, "file://{desk.folder}/{name}"))
    raise SystemExit(server.follow("look"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=desk.folder,
        env=desk.environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    file, value, variable = done.stdout.partition("found ")[2].split()
    assert head.folder in Path(file).parents
    assert (value, variable) == ("hush4711", "0")
