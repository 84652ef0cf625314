"""Runs suites again and again with every seed changed, and counts how often a verdict is found again.

    python benchmarks/replication.py few_labels quickstart --runs 4 --storage FOLDER

runs each suite so often (a run that is there is not run again), with other seeds of the samplers, of tuning, of choice and of
confirmation; with ``--fixed``, as before there were choices and replicates: one tuning, the best trial, so many seeds.
Every verdict of every run that is better, worse or equivalent (helps, hurts, for the weights themselves) is looked up in every
other run of that suite: it is found again, lost (not decided there), or contradicted (another end); reversed is what is better
in one and worse in another. Writes ``benchmarks/results/replication.csv``, a row a verdict, and prints the counts.
"""

import argparse
import csv
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from regbench.platform import sweep as engine
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.frames import rows_of
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep, sweep_names
from regbench.platform.suite.spec import Suite, parse_suite, read_suite

RESULTS = Path(__file__).parent / "results" / "replication.csv"
COLUMNS = ["suite", "design", "run", "data", "entry", "against", "verdict", "units", "value", "low", "high"]
FIXED: dict[str, Any] = dict.fromkeys(("choose", "until", "at_most", "relevant")) | {"replicates": 1, "resplit": False}
DECIDED = {"better": 1, "helps": 1, "worse": -1, "hurts": -1, "equivalent": 0}
# Apart by more than any sweep uses.
SEEDS_APART = 100_000


def changed(suite: Suite, run: int, fixed: int | None) -> Suite:
    """A suite with all seeds changed; run 0 has its own."""
    raw = suite.model_dump()
    if fixed is not None:
        raw |= FIXED
        raw["confirm"]["seeds"] = fixed
    raw["name"] = f"{suite.name}-{'decided' if fixed is None else 'fixed'}-{run}"
    raw["seed"] += run * SEEDS_APART
    raw["confirm"]["first_seed"] += run * SEEDS_APART
    return parse_suite(raw, suite.name)


def verdicts(suite: Suite, storage: Storage, console: Console) -> list[dict[str, Any]]:
    """The verdicts of a run, which is run or gone on with where it has not ended."""
    if suite.name in sweep_names(storage):
        engine.resume(suite.name, storage, "none", console)
    else:
        engine.start(suite, storage, "none", console)
    return [
        {"data": row["data"], "entry": row["entry"], "against": against, "verdict": row[f"{prefix}_verdict"]}
        | {"units": row[f"{prefix}_pairs"]}
        | {name: row[f"{prefix}_{name}"] for name in ("value", "low", "high")}
        for row in rows_of(compare(open_sweep(suite.name, storage)).entries)
        for prefix, against in (("difference", "baseline"), ("ablation", "its weights off"))
        if row[f"{prefix}_pairs"]
    ]


def counts(rows: list[dict[str, Any]]) -> Counter[str]:
    """How often decided verdicts of one run are found again in another, over all pairs of runs."""
    runs: dict[Any, dict[tuple[str, ...], int | None]] = {}
    for row in rows:
        runs.setdefault(row["run"], {})[row["data"], row["entry"], row["against"]] = DECIDED.get(row["verdict"])
    found: Counter[str] = Counter()
    for one, other in permutations(runs.values(), 2):
        for comparison, end in one.items():
            if end is None:
                found["undecided"] += 1
                continue
            there = other.get(comparison)
            found["decided"] += 1
            found["lost" if there is None else "found again" if there == end else "contradicted"] += 1
            found["reversed"] += there is not None and end * there < 0
    return found


def main() -> None:
    """Runs, counts and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", metavar="SUITE")
    parser.add_argument("--runs", type=int, default=4, help="of each suite")
    parser.add_argument("--fixed", type=int, metavar="SEEDS", help="one tuning, and so many confirmed seeds")
    parser.add_argument("--storage", default="replication", help="where the sweeps are kept")
    options = parser.parse_args()
    console, storage = Console(width=110), Storage(options.storage)
    design = "as in the suite" if options.fixed is None else f"one tuning, {options.fixed} seeds"
    rows: list[dict[str, Any]] = []
    if RESULTS.exists():
        with RESULTS.open(encoding="utf-8", newline="") as file:
            rows = [r for r in csv.DictReader(file) if not (r["suite"] in options.suites and r["design"] == design)]
    for name in options.suites:
        for run in range(options.runs):
            found = verdicts(changed(read_suite(name), run, options.fixed), storage, console)
            rows += [{"suite": name, "design": design, "run": run} | row for row in found]
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    table = Table("suite", "design", "decided", "found again", "lost", "contradicted", "reversed", "undecided")
    for key in sorted({(row["suite"], row["design"]) for row in rows}):
        found = counts([row for row in rows if (row["suite"], row["design"]) == key])
        share = f" ({found['found again'] / found['decided']:.0%})" if found["decided"] else ""
        cells = [str(found[n]) for n in ("decided", "found again", "lost", "contradicted", "reversed", "undecided")]
        table.add_row(*key, cells[0], cells[1] + share, *cells[2:])
    console.print(table)


if __name__ == "__main__":
    main()
