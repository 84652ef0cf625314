"""Breaks a sweep as a night on a cluster can, resumes it, and counts what is lost, repeated or changed: nothing may be.

Faults: ``driver`` (the sweep's process is killed, at random moments of the sweep and of its continuations), ``worker`` (the
process that trains a trial is killed, again and again, while the sweep goes on), ``node`` (the same with the raylet of a
machine of a Ray cluster), ``mlflow`` (the tracking server is killed as the sweep starts), ``storage`` (the disk fills up in
the middle of a trial; needs the right to mount one), ``torn`` (the driver is killed, and files are left half written) and
``interrupt`` (Ctrl-C, and again while the sweep stops).

Afterwards the records must be those of a sweep that nobody disturbed: every trial once, no ended trial run again, interrupted
ones continued from their checkpoint, every curve and the comparison the same, and MLflow the same as Parquet.

    python benchmarks/faults.py --kills 20

writes ``benchmarks/results/faults.csv``.
"""

import argparse
import csv
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Container
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mlflow import MlflowClient
from rich.console import Console

from regbench.platform import sweep as engine
from regbench.platform.comparison.compare import compare
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.suite.spec import parse_suite
from regbench.platform.tracking.ui import ui_command

RESULTS = Path(__file__).parent / "results" / "faults.csv"
NAME = "faults"
RETRIES = 3
# 14 trials: four that are tuned and two that are confirmed, of the method and of its baseline, and two with the weights off.
SUITE: dict[str, Any] = {
    "name": NAME,
    "methods": ["label_smoothing"],
    "data": ["digits_noisy"],
    "settings": {"epochs": 24},
    "trials": 4,
    "sampler": "random",
    "confirm": {"seeds": 2},
    "checkpoint_seconds": 0,
    "retries": RETRIES,
}
DEADLINE_SECONDS = 600.0
COMMANDS = Path(sys.executable).parent
Counts = dict[str, int]
# Trial, metric, step, value.
Point = tuple[str, str, int, float]


@dataclass
class Attempt:
    """One attempt at a trial: the process that made it, and the rounds that it reported."""

    pid: int
    rounds: list[int] = field(default_factory=list)


class Sweep(ExitStack):
    """The suite as a user runs it, in processes of its own; what a fault has set up around it ends with it.

    Args:
        folder: holds the suite's file and the output.
        storage: where results go, by default a folder there.
        **suite: keys of the suite to replace.

    Attributes:
        storage: where results go.
        tracking: MLflow's URI.
        options: further options of the command line, such as ``--address``.
        environment: added to that of this process.
        output: everything that the sweep's processes printed.
        rounds: how many all of its trials train.
    """

    def __init__(self, folder: Path, storage: str | None = None, **suite: Any) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.storage = storage or str(folder / "results")
        self.tracking = f"sqlite:///{folder}/results/mlflow.db"
        self.options: list[str] = []
        self.environment: dict[str, str] = {}
        self.output = folder / "output.txt"
        self.records = Records(Storage(self.storage).child(NAME))
        self._seen: dict[str, tuple[bytes, int]] = {}
        self._changed: set[str] = set()
        suite = SUITE | suite
        self.rounds = (2 * suite["trials"] + 3 * suite["confirm"]["seeds"]) * suite["settings"]["epochs"]
        # JSON is YAML.
        (folder / "suite.yaml").write_text(json.dumps(suite))

    def __enter__(self) -> Self:
        return self

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the sweep, or continues it: ``regbench sweep FILE --continue``."""
        return self.regbench("sweep", str(self.folder / "suite.yaml"), "--continue", *self.options)

    def regbench(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a command on the sweep's storage and tracking."""
        command = [COMMANDS / "regbench", *arguments, "--storage", self.storage, "--tracking", self.tracking]
        return self.spawn(command, self.environment)

    def spawn(self, command: list[Any], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Starts a process group, which ends with the sweep."""
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        self.callback(_end, process)
        return process

    def finish(self) -> int:
        """Runs the sweep to its end; returns the exit status."""
        return self.start().wait(DEADLINE_SECONDS)

    def attempts(self, ended: Container[str] = ()) -> dict[str, list[Attempt]]:
        """The attempts at each trial so far but those that have ended, by key; a torn last line is passed over."""
        found: dict[str, list[Attempt]] = {}
        for key in self.records.storage.names("logs"):
            if key in ended:
                continue
            for name in self.records.storage.names(f"logs/{key}"):
                *lines, _ = self.records.storage.read(f"logs/{key}/{name}").decode().split("\n")
                if lines:
                    facts, *reports = map(json.loads, lines)
                    rounds = [report["report"]["round"] for report in reports]
                    found.setdefault(key, []).append(Attempt(facts["attempt"]["pid"], rounds))
        return found

    def unended(self) -> dict[str, Attempt]:
        """The last attempts that have reported three rounds, by key, of trials that have not ended and may be tried again."""
        left = {key: found for key, found in self.attempts(self.records.ended()).items() if len(found) <= RETRIES}
        return {key: found[-1] for key, found in left.items() if len(found[-1].rounds) >= 3}

    def under_way(self) -> dict[str, Attempt]:
        """The attempts of ``unended`` whose process runs."""
        unended = self.unended()
        running = _parents() if unended else {}
        return {key: attempt for key, attempt in unended.items() if attempt.pid in running}

    def progress(self) -> int:
        """How many rounds have been trained."""
        rounds = {(key, number) for key, found in self.attempts().items() for attempt in found for number in attempt.rounds}
        return len(rounds)

    def look(self) -> int:
        """Remembers what has ended; returns how many trials that had ended before were run or recorded again since."""
        attempts = {key: len(found) for key, found in self.attempts().items()}
        for key in self.records.ended():
            now = (self.records.storage.read(f"records/trials/{key}.parquet"), attempts[key])
            if self._seen.setdefault(key, now) != now:
                self._changed.add(key)
        return len(self._changed | self._seen.keys() - self.records.ended())

    def retrained(self) -> int:
        """How many rounds were trained again, but for one an attempt, which its end may have kept from the checkpoint.

        A later attempt begins with the report that the checkpoint held.
        """
        count = 0
        for attempts in self.attempts().values():
            newest = 0
            for attempt in attempts:
                if attempt.rounds:
                    count += max(0, newest - attempt.rounds[0] - 1)
                    newest = max(newest, attempt.rounds[-1])
        return count


def undisturbed(folder: Path, **suite: Any) -> Records:
    """The records of the suite run in this process, one trial after the other."""
    storage = Storage(folder)
    outcome = engine.start(parse_suite(SUITE | {"execution": "inline"} | suite), storage, "none", Console(quiet=True))
    assert outcome.complete
    return Records(storage.child(NAME))


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> bool:
    """Waits for an event; returns False where the process that should bring it about ended without it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        if process is not None and process.poll() is not None:
            return happened()
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited for {DEADLINE_SECONDS:g} s in vain")
        time.sleep(0.1)
    return True


def kill_driver(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Kills the sweep's process at random moments of its work, and continues it each time; returns how many kills hit it.

    Where a moment has passed when the sweep is continued, the kill comes while it starts up.
    """
    hits = 0
    for moment in sorted(dice.randrange(sweep.rounds) for _ in range(kills)):
        process, starting = sweep.start(), dice.uniform(1.0, 10.0)
        if sweep.progress() > moment:
            with suppress(subprocess.TimeoutExpired):
                process.wait(starting)
        else:
            wait_until(lambda moment=moment: sweep.progress() > moment, process)
        if process.poll() is None:
            process.kill()
            hits += 1
        process.wait()
        sweep.look()
    return hits


def kill_workers(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Kills processes that train a trial, each with some rounds behind it, while the sweep goes on to its end."""
    process, killed = sweep.start(), []

    def targets() -> list[int]:
        return [attempt.pid for attempt in sweep.under_way().values() if attempt.pid not in killed]

    while len(killed) < kills and wait_until(lambda: bool(targets()), process):
        for pid in dice.sample(found, 1) if (found := targets()) else []:
            sweep.look()
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    assert process.wait(DEADLINE_SECONDS) == 0
    return len(killed)


def kill_nodes(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Kills the raylet of a machine that trains a trial, and lets a new machine join, while the sweep goes on to its end."""
    temporary = tempfile.mkdtemp(prefix="ray")
    sweep.callback(shutil.rmtree, temporary, ignore_errors=True)
    address = f"127.0.0.1:{free_port()}"
    sweep.options = ["--address", address, "--cpus", "2"]
    sweep.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    def join(*options: str) -> subprocess.Popen[bytes]:
        # Random ports: other clusters may run on this machine.
        ports = ["--min-worker-port", "0", "--max-worker-port", "0"]
        command = [COMMANDS / "ray", "start", *options, *ports, "--node-ip-address", "127.0.0.1", "--disable-usage-stats"]
        return sweep.spawn([*command, "--block"], sweep.environment)

    head = ["--head", "--port", address.partition(":")[2], "--ray-client-server-port", str(free_port())]
    head += ["--temp-dir", temporary, "--include-dashboard", "false", "--num-cpus", "0"]
    # A node gives up where no head answers. Ray gives the head 30 seconds to start, which a busy machine may exceed.
    assert any(wait_until(lambda: "Ray runtime started" in sweep.output.read_text(), join(*head)) for _ in range(5))
    machine = ["--address", address, "--num-cpus", "1"]
    nodes = [join(*machine) for _ in range(2)]
    process = sweep.start()

    def training() -> list[tuple[int, int]]:
        """Machines that train a trial: the process that started each, and its raylet. One that did not come up starts again."""
        nodes[:] = [node if node.poll() is None else join(*machine) for node in nodes]
        parents, starters = _parents(), {node.pid for node in nodes}
        raylets = {parents.get(attempt.pid) for attempt in sweep.unended().values()}
        return [(parents[raylet], raylet) for raylet in raylets if raylet in parents and parents[raylet] in starters]

    hits = 0
    while hits < kills and wait_until(lambda: bool(training()), process):
        for node, raylet in dice.sample(found, 1) if (found := training()) else []:
            sweep.look()
            os.kill(raylet, signal.SIGKILL)
            nodes[:] = [other if other.pid != node else join(*machine) for other in nodes]
            hits += 1
    assert process.wait(DEADLINE_SECONDS) == 0
    return hits


def kill_server(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Kills the MLflow server as the sweep starts; a new one on the same database is caught up with ``regbench sync``."""
    database, port = f"sqlite:///{sweep.folder}/server.db", free_port()
    sweep.tracking = f"http://127.0.0.1:{port}"

    server = serve(sweep, database, port)
    process = sweep.start()
    assert wait_until(lambda: sweep.records.storage.exists("suite.json"), process)
    os.killpg(server.pid, signal.SIGKILL)
    # The sweep ends complete, and says that MLflow is not up to date.
    assert process.wait(DEADLINE_SECONDS) == 1
    serve(sweep, database, port)
    assert sweep.regbench("sync", NAME).wait(DEADLINE_SECONDS) == 0
    assert unexported(sweep.records, sweep.tracking) == 0
    return 1


def serve(around: Sweep, database: str, port: int) -> subprocess.Popen[bytes]:
    """An MLflow server on a database, which answers."""
    server = around.spawn(*ui_command(database, port=port))
    assert wait_until(lambda: _answers(f"http://127.0.0.1:{port}/health"), server), "the MLflow server ended"
    return server


def fill_storage(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Lets the disk of the results fill up in the middle of a trial, and makes room when the sweep has given up."""
    Path(sweep.storage).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", sweep.storage], check=True)
    # Lazily: MLflow keeps its database open in this process.
    sweep.callback(subprocess.run, ["umount", "--lazy", sweep.storage], check=True)

    def resize(free: int) -> None:
        size = shutil.disk_usage(sweep.storage).used + free
        # With source and type: else `mount` looks both up among all mounts, and misses some while others come and go.
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"remount,size={size}", "tmpfs", sweep.storage], check=True)

    process = sweep.start()
    assert wait_until(lambda: bool(sweep.records.ended() and sweep.under_way()), process)
    sweep.look()
    resize(free=1 << 16)
    before = len(sweep.output.read_text())
    assert process.wait(DEADLINE_SECONDS) == 2
    said = sweep.output.read_text()[before:]
    assert said.splitlines()[-1].startswith("error: cannot write "), said
    assert "No space left on device" in said, said
    assert "Traceback" not in said, said
    resize(free=1 << 28)
    return 1


def tear_files(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Kills the driver in the middle of a trial and leaves what was being written then half written.

    A checkpoint or a record is replaced as a whole: only its temporary file can be torn. A log is added to.
    """
    unended: dict[str, Attempt] = {}
    while not unended:
        process = sweep.start()
        assert wait_until(lambda: bool(sweep.records.ended() and sweep.under_way()), process)
        # At once, while the trial is under way; on a busy machine it may have ended all the same.
        process.kill()
        process.wait()
        sweep.look()
        unended = sweep.unended()
    torn = 0
    for key, attempt in unended.items():
        # Its worker ends a moment after the driver, and may finish a round until then.
        wait_until(lambda pid=attempt.pid: pid not in _parents())
        folder = Path(sweep.storage) / NAME
        log = max((folder / "logs" / key).iterdir())
        content = log.read_bytes()
        last = len(content.splitlines(keepends=True)[-1])
        log.write_bytes(content[: -last // 2])
        record = next((folder / "records" / "trials").glob("*.parquet"))
        for source, target in (
            (folder / "checkpoints" / f"{key}.pt", folder / "checkpoints" / f".{key}.pt.{attempt.pid}"),
            (record, record.with_name(f".{key}.parquet.{process.pid}")),
        ):
            half = source.read_bytes()
            target.write_bytes(half[: len(half) // 2])
        torn += 3
    return torn


def interrupt(sweep: Sweep, kills: int, dice: random.Random) -> int:
    """Ctrl-C in the middle of a trial, and again while the sweep stops: it must say so at once, and end by itself."""
    process = sweep.start()
    assert wait_until(lambda: bool(sweep.records.ended() and sweep.under_way()), process)
    sweep.look()
    os.killpg(process.pid, signal.SIGINT)
    assert wait_until(lambda: "Stopping" in sweep.output.read_text(), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 130, sweep.output.read_text()
    assert "Traceback" not in sweep.output.read_text(), sweep.output.read_text()
    return 2


FAULTS: dict[str, Callable[[Sweep, int, random.Random], int]] = {
    "driver": kill_driver,
    "worker": kill_workers,
    "node": kill_nodes,
    "mlflow": kill_server,
    "storage": fill_storage,
    "torn": tear_files,
    "interrupt": interrupt,
}


def differences(sweep: Sweep, reference: Records) -> Counts:
    """What tells a sweep's records from those of one that nobody disturbed, and MLflow from the records: all should be 0."""
    rows, expected = sweep.records.trials().to_pylist(), reference.trials().to_pylist()
    keys = [row["key"] for row in rows]
    ours, theirs = compare(sweep.records), compare(reference)
    facts = ["entry", "n", "mean", "low", "high", "rank", "difference_value", "difference_p_holm", "ablation_value"]
    return {
        "missing": len({row["key"] for row in expected} - set(keys)),
        "extra": len(set(keys) - {row["key"] for row in expected}),
        "twice": len(keys) - len(set(keys)),
        "unfinished": sum(row["status"] != "completed" for row in rows),
        "rerun": sweep.look(),
        "retrained": sweep.retrained(),
        "curves": _apart(_curves(sweep.records), _curves(reference)),
        "comparison": int(not ours.entries[facts].equals(theirs.entries[facts])),
        "mlflow": unexported(sweep.records, sweep.tracking),
    }


def unexported(records: Records, tracking: str) -> int:
    """How many points are only in the records, or only in MLflow."""
    return _apart(_curves(records), _exported(records, tracking))


def _curves(records: Records) -> Counter[Point]:
    """Every point of every curve; test metrics have step 0, as in MLflow."""
    return Counter(
        (row["key"], row["metric"], 0 if row["metric"].startswith("test/") else row["round"], row["value"])
        for row in records.curves().to_pylist()
    )


def _exported(records: Records, tracking: str) -> Counter[Point]:
    """The same from MLflow."""
    client = MlflowClient(tracking)
    identity = json.loads(records.storage.read("suite.json"))["id"]
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    chosen = f"tags.`regbench.id` = '{identity}' AND tags.stage != 'sweep' AND tags.stage != 'study'"
    found: Counter[Point] = Counter()
    for run in client.search_runs(experiments, chosen, max_results=1000):
        key = run.data.tags["regbench.key"].partition("/")[2]
        for metric in run.data.metrics:
            if not metric.startswith("best/"):
                points = client.get_metric_history(run.info.run_id, metric)
                found.update((key, metric, point.step, point.value) for point in points)
    return found


def _apart(one: Counter[Point], other: Counter[Point]) -> int:
    return ((one - other) + (other - one)).total()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5)
    except OSError:
        return False
    return True


def _parents() -> dict[int, int]:
    """The parent of every process that runs."""
    lines = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in lines.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in found if not state.startswith("Z")}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process group, at first politely."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, kind)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                continue


def main() -> None:
    """Injects each fault and writes the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", choices=[[], *FAULTS], help="by default all")
    parser.add_argument("--kills", type=int, default=20, help="of the driver, of workers, of nodes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = undisturbed(folder / "undisturbed")
        for fault in options.faults or FAULTS:
            with Sweep(folder / fault) as sweep:
                hits = FAULTS[fault](sweep, options.kills, random.Random(options.seed))
                assert sweep.finish() == 0, sweep.output.read_text()
                attempts = sweep.attempts().values()
                counts = {"trials": len(attempts), "hits": hits, "attempts": sum(map(len, attempts))}
                rows.append({"fault": fault} | counts | differences(sweep, reference))
            print(rows[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
