"""Measures what a method is worth in a sweep of its suite, for ``benchmarks/effects``; reads what was kept for plots."""

import io
import json
from functools import cache
from importlib.resources import files

import pandas as pd

from regbench.methods.errors import ConfigError, nearest
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.comparison.effects import COLUMNS, FOLDER, Claim
from regbench.platform.comparison.frames import FRAMES, Comparison, Row, rows_of
from regbench.platform.comparison.statistics import Paired, estimate, paired, verdict
from regbench.platform.execution.training_cost import training_seconds
from regbench.platform.records.records import Records

WEIGHTS_OFF = "its weights off"
COST_REPEATS = 3
# Tables of a comparison that are kept with the effects, because their plots say what no row of effects can.
PLOTTED = ("trade_offs", "spectra")


@cache
def plotted() -> Comparison:
    """What was kept of the sweeps for plots: the tables ``PLOTTED``, and the entries in them; all others are empty."""
    kept = {name: pd.read_csv(io.StringIO((files(FOLDER) / f"{name}.csv").read_text(encoding="utf-8"))) for name in PLOTTED}
    entries = pd.concat([frame[["track", "data", "entry"]] for frame in kept.values()]).drop_duplicates()
    empty = {name: pd.DataFrame(columns=list(kinds)) for name, kinds in FRAMES.items()}
    return Comparison(**(empty | kept | {"entries": entries}), suites={})


def measure(slug: str, claim: Claim, records: Records, found: Comparison) -> pd.DataFrame:
    """The effect of a method in a sweep of its suite.

    Args:
        slug: the method.
        claim: what to compare.
        records: of the sweep, confirmed.
        found: the sweep's comparison.

    Raises:
        ConfigError: the sweep lacks an entry or a metric that the claim names.
    """
    rows = found.entries[(found.entries["data"] == claim.data) & (found.entries["entry"] == claim.entry)]
    if rows.empty:
        raise ConfigError(f"claim of {slug}: suite {claim.suite} has no entry '{claim.entry}' on {claim.data}")
    baseline = str(rows.iloc[0]["compared_with"])
    cost = _cost(records, claim.data, claim.entry, baseline)
    opponents = [(name, name, "confirm") for name in dict.fromkeys([baseline, *claim.competitors])]
    opponents.append((WEIGHTS_OFF, claim.entry, "ablate"))
    measured = []
    for metric in claim.metrics:
        mode, own = _values(found, claim, metric, claim.entry, "confirm", slug)
        for against, entry, stage in opponents:
            if against == WEIGHTS_OFF and not _has(found, claim, entry, stage):
                continue
            other = _values(found, claim, metric, entry, stage, slug)[1]
            pair = paired(own, other)
            measured.append(
                {"method": slug, "suite": claim.suite, "data": claim.data, "metric": metric, "mode": mode}
                | {"entry": claim.entry, "against": against}
                | _figures(own, other, pair, mode)
                | {"cost": cost}
            )
    return pd.DataFrame(measured, columns=COLUMNS)


def _figures(own: dict[int, float], other: dict[int, float], pair: Paired, mode: str) -> Row:
    alone = estimate(list(own.values()))
    shared = pair.differences.keys()
    return {
        "seeds": pair.estimate.n,
        "mean": alone.mean,
        "low": alone.low,
        "high": alone.high,
        "other_mean": sum(other[seed] for seed in shared) / len(shared),
        "difference": pair.estimate.mean,
        "difference_low": pair.estimate.low,
        "difference_high": pair.estimate.high,
        "p": pair.p,
        "verdict": verdict(pair, pair.p, mode),
    }


def _has(found: Comparison, claim: Claim, entry: str, stage: str) -> bool:
    seeds = found.seeds
    return bool(((seeds["data"] == claim.data) & (seeds["entry"] == entry) & (seeds["stage"] == stage)).any())


def _values(found: Comparison, claim: Claim, metric: str, entry: str, stage: str, slug: str) -> tuple[str, dict[int, float]]:
    """A test metric's mode, and its values by seed."""
    seeds, metrics = found.seeds, found.metrics
    here = seeds[(seeds["data"] == claim.data) & (seeds["entry"] == entry) & (seeds["stage"] == stage)]
    chosen = here[here["metric"] == metric]
    if chosen.empty:
        known = sorted(set(here["metric"])) or sorted(set(seeds["entry"]))
        raise ConfigError(f"claim of {slug}: no confirmed {metric} of '{entry}' on {claim.data}; {nearest(metric, known)}")
    mode = str(metrics["mode"][metrics["metric"] == metric].iloc[0])
    return mode, {int(row["seed"]): float(row["value"]) for row in rows_of(chosen)}


def _cost(records: Records, data: str, entry: str, baseline: str) -> float:
    """Processor time of a training of an entry as confirmed, relative to one of the baseline; the least of three each."""
    trials = records.trials().to_pylist()
    seconds: dict[str, float] = {}
    for name in (baseline, entry):
        row = next(row for row in trials if (row["data"], row["stage"], row["entry"]) == (data, "confirm", name))
        method = create(row["method"], json.loads(row["settings"]))
        seconds[name] = min(training_seconds(method, Run(data, seed=seed)) for seed in range(COST_REPEATS))
    return seconds[entry] / seconds[baseline]
