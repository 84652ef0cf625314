"""Measures what each method is worth on its small benchmark: baseline, method and competitors, tuned and confirmed alike.

    python benchmarks/effects.py [METHOD ...] [--set KEY=VALUE ...]

sweeps the suites that ``benchmarks/effects/claims.yaml`` names (an interrupted one goes on where it was) and writes the rows of
the methods named, by default of all, into ``benchmarks/effects/effects.csv``, with the tuned weights and the design of the
suite: seeds or replicates, fixed or until decided. ``regbench compare --effects`` shows them. Beside it, ``trade_offs.csv`` and
``spectra.csv`` keep what the sweeps' plots show, for the methods' pages. Suites whose data are not below ``REGBENCH_DATA`` are
left out, and their rows stay.
"""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.platform import sweep as engine
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.effects import claims
from regbench.platform.comparison.measurement import PLOTTED, measure
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep, sweep_names
from regbench.platform.suite.changes import changed, values
from regbench.platform.suite.spec import read_suite

RESULTS = Path(__file__).parent / "effects"


def main() -> None:
    """Sweeps and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="slugs; by default every method with a claim")
    parser.add_argument("--suite", help="of these methods' suites this one alone")
    parser.add_argument("--storage", default="build/effects", help="where the sweeps go")
    parser.add_argument("--cpus", type=int, help="trials at once")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of a key of the suites")
    options = parser.parse_args()
    named = [(slug, claim) for slug in options.methods or claims() for claim in claims()[slug]]
    chosen = [(slug, claim) for slug, claim in named if options.suite in (None, claim.suite)]
    storage, console = Storage(options.storage), Console()
    for suite in dict.fromkeys(claim.suite for _, claim in chosen):
        try:
            for _, claim in chosen:
                if claim.suite == suite:
                    load(claim.data)
        except DataError as error:
            console.print(f"{suite} is left out: {error}")
            continue
        run = engine.resume if suite in sweep_names(storage) else engine.start
        spec = changed(read_suite(suite).model_dump(), values(options.set))
        outcome = run(suite if run is engine.resume else spec, storage, "none", console, cpus=options.cpus)
        if not outcome.complete or outcome.barren:
            raise SystemExit(f"{suite} is not complete: run this again")
        records = open_sweep(suite, storage)
        comparison = compare(records)
        measured = [measure(slug, claim, records, comparison) for slug, claim in chosen if claim.suite == suite]
        write("effects", pd.concat(measured), ["method", "suite", "data"])
        for name in PLOTTED:
            write(name, getattr(comparison, name), ["track", "data"])


def write(name: str, rows: pd.DataFrame, key: list[str]) -> None:
    """Replaces the rows of a table that have the same keys."""
    path = RESULTS / f"{name}.csv"
    kept = pd.read_csv(path)
    kept = kept[~pd.MultiIndex.from_frame(kept[key]).isin(pd.MultiIndex.from_frame(rows[key]))]
    together = pd.concat([part for part in (kept, rows) if len(part)] or [rows]).sort_values(key[0], kind="stable")
    together.to_csv(path, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
