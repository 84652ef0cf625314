"""How the cost of a trial grows with the length of its sweep: suites of 50, 200 and 1,000 near-empty trials on two CPUs.

A trial solves one small transport problem by Sinkhorn's algorithm and reports once, so that nearly all time is overhead. Each
suite runs in a fresh process, once without MLflow and once with the default, whose exports run beside the trials every few
seconds: a sweep of 50 such trials is over before the first. ``trial_seconds`` is the time from the first report to the last
trial's record, divided by the trials; ``closing_seconds`` passes from there to the end of the sweep (report, last export, Ray's
end); ``sweep_seconds`` is both together, divided by the trials; ``driver_mb`` is the most memory that the sweep's process held,
``base_mb`` what it held before the first trial.

    python benchmarks/scale.py --repeats 2

writes ``benchmarks/results/scale.csv``.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median

SIZES = (50, 200, 1000)
# The track's baseline, the exact solver, has nothing to search and is added as one more trial.
METHOD, BASELINE_TRIALS = "sinkhorn", 1
RESULTS = Path(__file__).parent / "results" / "scale.csv"
TRACKING = ("none", "mlflow")
FIELDS = [
    "repeat",
    "tracking",
    "trials",
    "trial_seconds",
    "training_seconds",
    "closing_seconds",
    "sweep_seconds",
    "base_mb",
    "driver_mb",
]


def run(trials: int, tracking: str, folder: Path) -> dict[str, float]:
    """Runs one suite in this process; returns what it cost."""
    from rich.console import Console

    from regbench.platform.records.records import Records
    from regbench.platform.records.storage import Storage
    from regbench.platform.suite.spec import parse_suite
    from regbench.platform.sweep import start

    suite = parse_suite(
        {
            "name": "scale",
            "methods": [METHOD],
            "settings": {"problems": 1},
            "trials": trials - BASELINE_TRIALS,
            "sampler": "random",
            "confirm": {"seeds": 0},
        }
    )
    base = peak_mb()
    outcome = start(suite, Storage(folder), None if tracking == "mlflow" else "none", Console(quiet=True), cpus=2)
    end = time.time()
    assert outcome.complete
    assert not outcome.failed
    assert outcome.tracking_problem is None
    rows = Records(Storage(folder).child(suite.name)).trials().to_pylist()
    assert len(rows) == trials
    logs = (folder / suite.name / "logs").glob("*/*.jsonl")
    reports = [json.loads(line)["report"]["time"] for log in logs for line in log.read_text().splitlines() if "report" in line]
    last = max(row["ended"].timestamp() for row in rows)
    return {
        "trial_seconds": (last - min(reports)) / trials,
        "training_seconds": median(row["seconds"] for row in rows),
        "closing_seconds": end - last,
        "sweep_seconds": (end - min(reports)) / trials,
        "base_mb": base,
        "driver_mb": peak_mb(),
    }


def peak_mb() -> float:
    """The most resident memory that this process has had, without its children."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Runs the suites, smallest first, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--trials", type=int, help="run one suite in this process, and print its figures")
    parser.add_argument("--tracking", choices=TRACKING, default="mlflow", help="of that suite")
    options = parser.parse_args()
    if options.trials:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(options.trials, options.tracking, Path(folder))))
        return
    rows = []
    for repeat, tracking, trials in product(range(options.repeats), TRACKING, SIZES):
        command = [sys.executable, __file__, "--trials", str(trials), "--tracking", tracking]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        figures = {name: round(value, 4) for name, value in json.loads(output.splitlines()[-1]).items()}
        rows.append({"repeat": repeat, "tracking": tracking, "trials": trials} | figures)
        print(rows[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
