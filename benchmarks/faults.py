"""Breaks a sweep as a night on a cluster can, resumes it, and counts what is lost, repeated or changed: nothing may be.

Faults: ``driver`` (the sweep's process is killed, at random moments of the sweep and of its continuations), ``worker`` (the
process that trains a trial is killed, again and again, while the sweep goes on). Afterwards the records must be those of a
sweep that nobody disturbed: every trial once, no ended trial run again, every curve and the comparison the same, and MLflow
the same as Parquet.

    python benchmarks/faults.py --kills 20

writes ``benchmarks/results/faults.csv``.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from rich.console import Console

from regbench.platform import sweep as engine
from regbench.platform.compare import compare
from regbench.platform.records import Records
from regbench.platform.spec import parse_suite
from regbench.platform.storage import Storage
from regbench.platform.tracking import Exporter

RESULTS = Path(__file__).parent / "results" / "faults.csv"
NAME = "faults"
SUITE: dict[str, Any] = {
    "name": NAME,
    "methods": ["label_smoothing"],
    "data": ["digits_noisy"],
    "settings": {"epochs": 24},
    "trials": 4,
    "sampler": "random",
    "confirm": {"seeds": 2},
    "checkpoint_seconds": 0,
}
DEADLINE_SECONDS = 300.0
Counts = dict[str, int]


class Sweep:
    """The suite as a user runs it: ``regbench sweep FILE --continue``, in a process of its own.

    Args:
        folder: holds the suite's file, the storage and the output.
        options: further options of the command line, such as ``--address``.
        suite: keys of the suite to replace.
    """

    def __init__(self, folder: Path, *options: str, **suite: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "suite.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(SUITE | suite))
        self.storage = folder / "results"
        self.tracking = f"sqlite:///{self.storage}/mlflow.db"
        self.output = folder / "output.txt"
        self.records = Records(Storage(self.storage).child(NAME))
        self._command = [str(Path(sys.executable).with_name("regbench")), "sweep", str(file), "--continue"]
        self._command += ["--storage", str(self.storage), *options]

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the sweep, or continues it."""
        with self.output.open("ab") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=output, start_new_session=True)

    def finish(self) -> int:
        """Runs the sweep to its end; returns the exit status."""
        return self.start().wait(DEADLINE_SECONDS)

    def attempts(self) -> dict[str, list[dict[str, Any]]]:
        """The attempts of each trial so far, by key."""
        return {key: self.records.log(key).attempts for key in self.records.storage.names("logs")}

    def ended(self) -> dict[str, bytes]:
        """The record of each trial that has ended, as it lies in the storage."""
        return {key: self.records.storage.read(f"records/trials/{key}.parquet") for key in self.records.ended()}


def undisturbed(folder: Path) -> Records:
    """The records of the suite run in this process, one trial after the other."""
    storage = Storage(folder)
    outcome = engine.start(parse_suite(SUITE | {"execution": "inline"}), storage, "none", Console(quiet=True))
    assert outcome.complete
    return Records(storage.child(NAME))


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Waits for an event; returns False where the process ended without it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        if process.poll() is not None:
            return happened()
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited for {DEADLINE_SECONDS:g} s in vain")
        time.sleep(0.02)
    return True


def kill_driver(sweep: Sweep, kills: int, moments: random.Random) -> Counts:
    """Kills the sweep's process at random moments, and continues it each time.

    Returns:
        How many kills hit a running sweep, and how many records of ended trials changed later.
    """
    hits = changed = 0
    for _ in range(kills):
        before = sweep.ended()
        process = sweep.start()
        try:
            # From the first imports to the middle of a trial, one or several trials further.
            process.wait(moments.uniform(1.0, 15.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            hits += 1
        changed += _changed(before, sweep)
    return {"kills": hits, "changed": changed}


def kill_workers(sweep: Sweep, kills: int, victims: random.Random) -> Counts:
    """Kills processes that train a trial, each with some rounds behind it, while the sweep goes on to its end.

    Returns:
        How many were killed, and how many records of ended trials changed later.
    """
    process = sweep.start()
    before: dict[str, bytes] = {}
    killed: dict[str, int] = {}
    changed = 0

    def targets() -> list[tuple[str, int]]:
        """Trials under way with three rounds in this attempt, and their process; none that has used up its retries."""
        return [
            (key, attempts[-1]["pid"])
            for key, attempts in sweep.attempts().items()
            if key not in sweep.records.ended()
            and len(attempts) == killed.get(key, 0) + 1 <= 3
            and sum(report.time > attempts[-1]["time"] for report in sweep.records.log(key).reports) >= 3
        ]

    while sum(killed.values()) < kills and wait_until(lambda: bool(targets()), process):
        for key, pid in victims.sample(found, 1) if (found := targets()) else []:
            changed += _changed(before, sweep)
            before = sweep.ended()
            os.kill(pid, signal.SIGKILL)
            killed[key] = killed.get(key, 0) + 1
    assert process.wait(DEADLINE_SECONDS) == 0
    return {"kills": sum(killed.values()), "changed": changed + _changed(before, sweep)}


def _changed(before: dict[str, bytes], sweep: Sweep) -> int:
    now = sweep.ended()
    return sum(now.get(key) != content for key, content in before.items())


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
        "curves": len(set(_curves(sweep.records).items()) ^ set(_curves(reference).items())),
        "comparison": int(not ours.entries[facts].equals(theirs.entries[facts])),
        "mlflow": len(set(_curves(sweep.records).items()) ^ set(_exported(sweep).items())),
    }


def _curves(records: Records) -> dict[tuple[str, str, int], float]:
    """Every point of every curve; test metrics have step 0, as in MLflow."""
    return {
        (row["key"], row["metric"], 0 if row["metric"].startswith("test/") else row["round"]): row["value"]
        for row in records.curves().to_pylist()
    }


def _exported(sweep: Sweep) -> dict[tuple[str, str, int], float]:
    """The same from MLflow, after `regbench sync`."""
    Exporter(sweep.records, sweep.tracking).sync(final=True)
    client = MlflowClient(sweep.tracking)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: dict[tuple[str, str, int], float] = {}
    for run in client.search_runs(experiments, "tags.stage != 'sweep'", max_results=1000):
        key = run.data.tags["regbench.key"].partition("/")[2]
        for metric in run.data.metrics:
            if not metric.startswith("best/"):
                points = client.get_metric_history(run.info.run_id, metric)
                found |= {(key, metric, point.step): point.value for point in points}
    return found


def main() -> None:
    """Injects each fault and writes the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = undisturbed(folder / "undisturbed")
        for fault, inject in (("driver", kill_driver), ("worker", kill_workers)):
            sweep = Sweep(folder / fault)
            counts = inject(sweep, options.kills, random.Random(options.seed))
            assert sweep.finish() == 0, sweep.output.read_text()
            attempts = sum(len(attempts) for attempts in sweep.attempts().values())
            trials = len(sweep.ended())
            rows.append({"fault": fault, "trials": trials, "attempts": attempts} | counts | differences(sweep, reference))
            print(rows[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
