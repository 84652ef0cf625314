"""The effect of one entry over another on any metric of a sweep: by seeds or replicates, fixed or until it was decided."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import pandas as pd

from regbench.platform.comparison.candidates import Source, read_sources
from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.statistics import Estimate, Paired, estimate, paired, verdict
from regbench.platform.comparison.text import weights_text
from regbench.platform.records.records import Records
from regbench.platform.verdicts import anytime
from regbench.platform.verdicts.family import ALPHA
from regbench.platform.verdicts.units import Design, mean_difference

Units = dict[int, dict[int, float]]
"""Values by seed, by the unit (seed or replicate) to which they belong."""


@dataclass(frozen=True)
class Measured:
    """A sweep and its comparison, as effects are read from them.

    Attributes:
        records: of the sweep.
        found: its comparison.
        data: the data set that is looked at.
    """

    records: Records
    found: Comparison
    data: str

    @cached_property
    def _source(self) -> Source:
        return read_sources([self.records])[0]

    @property
    def design(self) -> Design:
        """How much of the sweep was run, and what decided it."""
        return self._source.design

    def _of(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = getattr(self.found, name)
        return frame[frame["data"] == self.data]

    def correlation(self, entry: str) -> float:
        """Of differences of replicates, whose splits of the data overlap."""
        return self._source.correlation(entry, self.data)

    def has(self, entry: str, stage: str) -> bool:
        """Whether an entry has values of a stage."""
        return bool(self.metrics(entry, stage))

    def metrics(self, entry: str, stage: str) -> list[str]:
        """The test metrics that an entry has of a stage."""
        seeds = self._of("seeds")
        return sorted(set(seeds["metric"][(seeds["entry"] == entry) & (seeds["stage"] == stage)]))

    def mode(self, metric: str) -> str:
        """``max`` or ``min``."""
        metrics = self.found.metrics
        return str(metrics["mode"][metrics["metric"] == metric].iloc[0])

    def weights(self, entry: str) -> str:
        """The tuned weights of an entry, as text; empty for one without."""
        rows = self._of("weights")
        return weights_text(found) if (found := rows_of(rows[rows["entry"] == entry])) else ""

    def values(self, metric: str, entry: str, stage: str) -> Units:
        """An entry's values of a test metric, of those seeds that count."""
        rows = self._of("seeds")
        rows = rows[(rows["entry"] == entry) & (rows["stage"] == stage) & (rows["metric"] == metric)]
        units: Units = {}
        for row in rows_of(rows):
            seed = int(row["seed"])
            units.setdefault(self._replicate[entry, stage, seed] if self.design.by_replicate else seed, {})[seed] = row["value"]
        return dict(sorted(units.items()))

    @cached_property
    def _replicate(self) -> dict[tuple[str, str, int], int]:
        rows = (row for row in self._source.trials if row["data"] == self.data)
        return {(row["entry"], row["stage"], row["seed"]): row["replicate"] or 0 for row in rows}


def effect(own: Units, other: Units, mode: str, design: Design, relevant: float, correlation: float) -> Row:
    """What an entry's values say beside those of an opponent: the columns of ``effects.COLUMNS`` that are figures.

    Fixed designs have the t interval and the paired t test; those that ran until they were decided have the confidence sequence
    and the p-value that hold at any stopping time. Neither is corrected for other comparisons.

    Args:
        own: of the entry.
        other: of the opponent.
        mode: whether a larger (``max``) or a smaller (``min``) value is good.
        design: of the sweep.
        relevant: half-width of what counts as equivalent; nan: nothing does.
        correlation: of units whose data overlap.
    """
    shared = {unit: own[unit].keys() & other[unit].keys() for unit in sorted(own.keys() & other.keys())}
    differences = {unit: mean_difference(own[unit], other[unit]) for unit, seeds in shared.items() if seeds}
    first, second = ({unit: fmean(side[unit][seed] for seed in shared[unit]) for unit in differences} for side in (own, other))
    pair = paired(first, second, correlation)
    if design.at_most is None:
        p, low, high = pair.p, pair.estimate.low, pair.estimate.high
    else:
        p, low, high = _anytime(list(differences.values()), correlation)
    alone = estimate([fmean(values.values()) for values in own.values()], correlation)
    seeds = sum(len(shared[unit]) for unit in differences)
    return _figures(alone, pair, p, low, high) | {
        "other_mean": fmean(second.values()) if second else math.nan,
        "verdict": _verdict(pair, p, low, high, mode, design, relevant),
        "relevant": relevant,
        "unit": design.unit_name,
        "units": len(differences),
        "seeds": seeds,
        "design": design_text(design, len(differences), seeds),
    }


def _figures(alone: Estimate, pair: Paired, p: float, low: float, high: float) -> Row:
    std = pair.estimate.std
    return {
        "mean": alone.mean,
        "low": alone.low,
        "high": alone.high,
        "difference": pair.estimate.mean,
        "difference_low": low,
        "difference_high": high,
        # Nan where the differences do not vary.
        "standardized": pair.estimate.mean / std if std > 0 else math.nan,
        "p": p,
    }


def _anytime(differences: list[float], correlation: float) -> tuple[float, float, float]:
    if len(differences) < anytime.FIRST_LOOK:
        return math.nan, math.nan, math.nan
    low, high = anytime.interval(differences, ALPHA, correlation)
    p = float(anytime.p_values(differences, correlation)[-1])
    return p, low if math.isfinite(low) else math.nan, high if math.isfinite(high) else math.nan


def _verdict(pair: Paired, p: float, low: float, high: float, mode: str, design: Design, relevant: float) -> str:
    if max(-low, high) <= relevant:
        return "equivalent"
    if design.at_most is None:
        return verdict(pair, p, mode, unit=design.unit_name)
    # Without enough units for a first look nothing is shown; differences that never vary are said to be such.
    shown = pair.p if math.isnan(pair.p) else 1.0 if math.isnan(p) else p
    return verdict(pair, shown, mode, ("better", "worse", "undecided"), design.unit_name)


def design_text(design: Design, units: int, seeds: int) -> str:
    """How an effect was measured, in words: ``10 seeds, one tuning``, ``8 replicates of 2 seeds, until decided``.

    Args:
        design: of the sweep.
        units: that were paired.
        seeds: that were paired, over all units.
    """
    until = ", until decided" if design.at_most is not None else ""
    if not design.by_replicate:
        return f"{_count(seeds, 'seed')}, one tuning{until}"
    alike = units and seeds % units == 0
    each = f" of {_count(seeds // units, 'seed')}" if alike else f", {_count(seeds, 'seed')} in all"
    return f"{_count(units, 'replicate')}{each}{until}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
