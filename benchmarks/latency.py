"""Measures how long commands that only tell something take to answer, and how much of that is Python's own start.

    python benchmarks/latency.py

writes ``benchmarks/results/latency.csv``: processor seconds (user and system) of each command, the least of several runs with
everything in the caches of disk and user, beside what importing PyTorch alone costs. The commands run in a folder with a small
sweep.
"""

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

REGBENCH = str(Path(sys.executable).parent / "regbench")
RESULTS = Path(__file__).parent / "results" / "latency.csv"
SUITE = {
    "name": "small",
    "methods": ["label_smoothing"],
    "data": ["digits_noisy"],
    "settings": {"epochs": 2},
    "trials": 2,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 2},
}
# Command and the processor seconds that it may take.
COMMANDS: list[tuple[list[str], float | None]] = [
    ([sys.executable, "-c", "pass"], None),
    ([sys.executable, "-c", "import torch"], None),
    *(
        ([REGBENCH, *line.split()], most)
        for line, most in {
            "--help": 0.4,
            "list": 1.0,
            "list --track nosuch": 1.0,
            "show ps_kd": 1.0,
            "show nosuch": 1.0,
            "suites": 1.0,
            "data list": 1.0,
            "status": 1.0,
            "status small": 1.0,
            "stop small": 1.0,
            "compare --effects": 1.0,
            "compare nosuch": 1.0,
            "run nosuch": 1.0,
            "run ps_kd --set nosuch=1": 1.0,
            "resume nosuch": 1.0,
            "sweep nosuch": 1.0,
            "sweep quickstart --dry-run": 2.0,
            "sweep suite.yaml --dry-run": 2.0,
        }.items()
    ),
]


def seconds(command: list[str], folder: str) -> float:
    """Processor seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command, after a first one that fills the caches")
    options = parser.parse_args()
    table = Table("command", "processor seconds", "aim", "÷ importing PyTorch", header_style="dim")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "suite.yaml").write_text(yaml.safe_dump(SUITE))
        subprocess.run([REGBENCH, "sweep", "suite.yaml", "--tracking", "none"], cwd=folder, capture_output=True, check=True)
        for command, most in COMMANDS:
            seconds(command, folder)
            least = min(seconds(command, folder) for _ in range(options.repeats))
            rows.append([" ".join([Path(command[0]).name, *command[1:]]), least, most])
    torch = next(least for name, least, _ in rows if "import torch" in name)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["command", "seconds", "aim", "relative"])
        for name, least, most in rows:
            cells = [name, f"{least:.2f}", "" if most is None else f"{most:g}", f"{least / torch:.2f}"]
            writer.writerow(cells)
            table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    main()
