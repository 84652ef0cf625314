"""A team's tracking server, PostgreSQL behind MLflow, takes the exports of many sweeps at once and loses none."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.studies import read_tables

PEOPLE = 8
# Each takes processes of its own, that import everything.
SWEEPS = 3
TINY = {"settings": {"epochs": 6}, "trials": 2, "confirm": {"seeds": 1}, "execution": "inline"}

pytestmark = pytest.mark.timeout(900)


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: Debian keeps them off the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))


@pytest.fixture(scope="module")
def database(faults):
    """The address of a fresh database on a PostgreSQL server on the loopback interface."""
    if binaries() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "postgresql"], check=False, capture_output=True)
    if (folder := binaries()) is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # PostgreSQL refuses to run as root, and its user may not look into pytest's folders.
    root = os.geteuid() == 0
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    port = faults.free_port()
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        if root:
            os.chown(name, pwd.getpwnam("postgres").pw_uid, -1)
        data, password = Path(name) / "data", Path(name) / "password"
        password.write_text("only-on-this-loopback")
        password.chmod(0o644)

        def postgres(*command: str) -> None:
            program, *arguments = command
            done = subprocess.run([*as_user, folder / program, *arguments], cwd=name, capture_output=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        postgres("initdb", "-D", str(data), "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
        settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={name} -c fsync=off"
        postgres("pg_ctl", "-D", str(data), "-w", "-t", "120", "-l", f"{name}/log", "-o", settings, "start")
        try:
            yield f"postgresql+psycopg2://mlflow:{password.read_text()}@127.0.0.1:{port}/postgres"
        finally:
            postgres("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def team(faults, database, tmp_path_factory):
    """An MLflow server on that database: its address, and what it prints."""
    with faults.Sweep(tmp_path_factory.mktemp("server")) as around:
        port = faults.free_port()
        faults.serve(around, database, port)
        yield f"http://127.0.0.1:{port}", around.output


def test_the_first_exports_of_eight_people_meet_in_one_experiment(tmp_path, faults, team):
    tracking, _ = team
    first = faults.undisturbed(tmp_path / "0", **TINY)
    for number in range(1, PEOPLE):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
    owned = [Records(Storage(tmp_path / str(number)).child(faults.NAME)) for number in range(PEOPLE)]
    for number, records in enumerate(owned):
        suite = json.loads(records.storage.read("suite.json"))
        records.storage.write("suite.json", json.dumps(suite | {"id": f"owner{number}"}).encode())
    together = threading.Barrier(PEOPLE)

    def export(records: Records) -> int:
        together.wait()
        return Exporter(records, tracking).sync(final=True).created

    with ThreadPoolExecutor(PEOPLE) as pool:
        created = list(pool.map(export, owned))
    studies = len(read_tables(first.storage)["entries"])
    assert created == [len(first.ended()) + studies + 1] * PEOPLE
    assert [faults.unexported(records, tracking) for records in owned] == [0] * PEOPLE


def test_sweeps_at_once_lose_nothing(tmp_path, faults, team):
    tracking, served = team
    with ExitStack() as stack:
        sweeps = [stack.enter_context(faults.Sweep(tmp_path / f"sweep{number}", **TINY)) for number in range(SWEEPS)]
        for sweep in sweeps:
            sweep.tracking = tracking
        processes = [sweep.start() for sweep in sweeps]
        for sweep, process in zip(sweeps, processes, strict=True):
            status, output = process.wait(faults.DEADLINE_SECONDS), sweep.output.read_text()
            assert status == 0, output
            # Neither a warning on the way nor one at the end.
            assert "MLflow at" not in output
            assert "lock" not in output
            assert faults.unexported(sweep.records, tracking) == 0
    assert "lock" not in served.read_text()
    assert "only-on-this-loopback" not in served.read_text()
