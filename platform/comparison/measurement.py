"""Measures what a method is worth in a sweep of its suite, for ``benchmarks/effects``; reads what was kept for plots."""

import io
import json
import math
from functools import cache
from importlib.resources import files
from statistics import fmean

import pandas as pd
import torch

from regbench.methods.errors import ConfigError, nearest
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.comparison.effect import Measured, Units, effect
from regbench.platform.comparison.effects import COLUMNS, FOLDER, Claim
from regbench.platform.comparison.frames import FRAMES, Comparison, rows_of
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
    judged = rows_of(rows)[0]
    baseline = str(judged["compared_with"])
    sweep = Measured(records, found, claim.data)
    cost = _cost(records, claim.data, claim.entry, baseline)
    opponents = [(name, name, "confirm") for name in dict.fromkeys([baseline, *claim.competitors])]
    if sweep.has(claim.entry, "ablate"):
        opponents.append((WEIGHTS_OFF, claim.entry, "ablate"))
    measured = []
    for metric in claim.metrics:
        own = _values(sweep, slug, claim, metric, claim.entry, "confirm")
        # What is relevant is said in the unit of the metric by which the sweep judges, or as a percentage.
        known = metric == judged["metric"] or isinstance(sweep.design.relevant, str)
        for against, entry, stage in opponents:
            other = _values(sweep, slug, claim, metric, entry, stage)
            relevant = sweep.design.amount([fmean(values.values()) for values in other.values()]) if known else math.nan
            measured.append(
                {"method": slug, "suite": claim.suite, "data": claim.data, "metric": metric, "mode": sweep.mode(metric)}
                | {"entry": claim.entry, "against": against, "weights": sweep.weights(claim.entry), "cost": cost}
                | effect(own, other, sweep.mode(metric), sweep.design, relevant, sweep.correlation(claim.entry))
            )
    return pd.DataFrame(measured, columns=COLUMNS)


def _values(sweep: Measured, slug: str, claim: Claim, metric: str, entry: str, stage: str) -> Units:
    if found := sweep.values(metric, entry, stage):
        return found
    known = sweep.metrics(entry, stage) or sorted(set(sweep.found.seeds["entry"]))
    raise ConfigError(f"claim of {slug}: no confirmed {metric} of '{entry}' on {claim.data}; {nearest(metric, known)}")


def _cost(records: Records, data: str, entry: str, baseline: str) -> float:
    """Processor time of a training of an entry as confirmed, relative to one of the baseline; the least of three each.

    In turn, and in one thread: on a busy machine threads wait for each other, which takes processor time, too.
    """
    trials = records.trials().to_pylist()
    methods = {}
    for name in (baseline, entry):
        row = next(row for row in trials if (row["data"], row["stage"], row["entry"]) == (data, "confirm", name))
        methods[name] = create(row["method"], json.loads(row["settings"]))
    seconds = dict.fromkeys(methods, math.inf)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in range(COST_REPEATS):
            for name, method in methods.items():
                seconds[name] = min(seconds[name], training_seconds(method, Run(data, seed=seed)))
    finally:
        torch.set_num_threads(threads)
    return seconds[entry] / seconds[baseline]
