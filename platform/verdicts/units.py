"""From the rows of a sweep's trials to the units that are compared: replicates, or with one, seeds of confirmation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from regbench.platform.records.choice import chosen_trial, confirming
from regbench.platform.verdicts.family import Rules, Series

# Sums of equal numbers in another order differ by 1e-17: below this, a difference is rounding.
ROUNDING = 1e-12

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Design:
    """How much of a sweep is run, and what decides its comparisons; from the ``suite`` in its ``suite.json``.

    Attributes:
        replicates: how often all of it is repeated in any case.
        seeds: of the confirmation of a replicate.
        first_seed: of confirmation.
        at_most: units at which it gives up; None: nothing more is run than what is run in any case.
        relevant: the smallest difference that would matter: a number, a percentage as text, or None.
        choose: ``top`` and ``seeds`` of the stage of choice; None: there is none.
    """

    replicates: int
    seeds: int
    first_seed: int
    at_most: int | None
    relevant: float | str | None
    choose: dict[str, int] | None

    @staticmethod
    def of(suite: Mapping[str, Any]) -> "Design":
        """The design of a suite; one of an older version has a single replicate, and no stage of choice."""
        confirm = suite.get("confirm") or {}
        return Design(
            suite.get("replicates", 1),
            confirm.get("seeds", 0),
            confirm.get("first_seed", 0),
            suite.get("at_most") if suite.get("until") else None,
            suite.get("relevant"),
            suite.get("choose"),
        )

    @property
    def by_replicate(self) -> bool:
        """Whether the unit is the replicate."""
        return self.replicates > 1

    @property
    def unit_name(self) -> str:
        """What tests count: ``seed`` or ``replicate``."""
        return "replicate" if self.by_replicate else "seed"

    @property
    def first(self) -> int:
        """How many units there are in any case."""
        return self.replicates if self.by_replicate else self.seeds

    def unit(self, row: Mapping[str, Any]) -> int:
        """The unit to which a trial after tuning belongs, from 0."""
        return (row["replicate"] or 0) if self.by_replicate else row["seed"] - self.first_seed

    def rules(self, baseline: Sequence["Unit"], overlap: float) -> Rules:
        """What decides the comparisons of a table; a percentage is one of the baseline's mean over the units of any case."""
        assert self.at_most is not None
        means = [fmean(unit.values.values()) for unit in baseline[: self.first] if unit.values]
        return Rules(self.first, self.at_most, self.amount(means), correlation(overlap))

    def amount(self, baseline: Sequence[float]) -> float:
        """The smallest difference that would matter, in the metric's unit; nan where that is not known.

        Args:
            baseline: the baseline's means of its units, of which a percentage is taken.
        """
        if not isinstance(self.relevant, str):
            return math.nan if self.relevant is None else self.relevant
        return abs(fmean(baseline)) * float(self.relevant.removesuffix("%")) / 100 if baseline else math.nan


def correlation(overlap: float) -> float:
    """Test rows over other rows, for splits that test on that share of their rows (Nadeau and Bengio, 2003)."""
    return overlap / (1 - overlap)


@dataclass(frozen=True)
class Unit:
    """What one side of a comparison has of a unit: its values by seed, once all of its trainings have ended."""

    ended: bool
    values: Mapping[int, float]


def units(rows: Mapping[int, Rows], stage: str, metric: str, design: Design, planned: Mapping[str, Any]) -> list[Unit]:
    """The units of an entry on a data set.

    Args:
        rows: of its trials that have ended, by replicate.
        stage: ``confirm`` or ``ablate``.
        metric: name of the test metric.
        design: of the sweep.
        planned: ``trials`` and ``draws`` of a study of it.
    """
    if design.by_replicate:
        limit = max(design.first, design.at_most or 0)
        return [_replicate(rows.get(number, ()), stage, metric, design, planned) for number in range(limit)]
    found = _after_tuning(rows.get(0, ()), stage, design)
    values = _values(found, metric)
    ended = {row["seed"] for row in found}
    seeds = range(design.first_seed, design.first_seed + max(design.first, design.at_most or 0))
    return [Unit(seed in ended, {seed: values[seed]} if seed in values else {}) for seed in seeds]


def _replicate(rows: Rows, stage: str, metric: str, design: Design, planned: Mapping[str, Any]) -> Unit:
    found = _after_tuning(rows, stage, design)
    return Unit(len(found) >= design.seeds or barren(rows, planned), _values(found, metric))


def _after_tuning(rows: Rows, stage: str, design: Design) -> list[Mapping[str, Any]]:
    chosen = chosen_trial(rows, design.choose)
    return [row for row in confirming(rows, chosen) if row["stage"] == stage] if chosen else []


def barren(rows: Rows, planned: Mapping[str, Any]) -> bool:
    """Whether the tuning of a study has ended without a single trial that was trained to its end."""
    drawn = [row for row in rows if row["stage"] == "tune"]
    tuned = [row for row in drawn if row["status"] != "refused"]
    ended = len(tuned) >= planned["trials"] or len(drawn) >= planned.get("draws", planned["trials"])
    return ended and chosen_trial(rows) is None


def _values(rows: Rows, metric: str) -> dict[int, float]:
    found = {
        row["seed"]: dict(row["metrics"] or ()).get(f"test/{metric}", math.nan) for row in rows if row["status"] == "completed"
    }
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def series(own: Sequence[Unit], other: Sequence[Unit], first: int) -> Series:
    """The paired differences of two sides, unit by unit, up to the first unit that one of them has not ended.

    Pairs are of the same seed; the difference of a replicate is their mean.
    """
    found = []
    for one, two in zip(own, other, strict=True):
        if not (one.ended and two.ended):
            break
        found.append(mean_difference(one.values, two.values))
    sides = [[value for unit in side[:first] for value in unit.values.values()] for side in (own, other)]
    return Series(found, all(len(values) > 1 and len(set(values)) == 1 for values in sides))


def mean_difference(own: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The mean of ``own`` minus ``other`` over the seeds that both have, nan where there is none; rounding errors are zero."""
    pairs = [(own[seed], other[seed]) for seed in sorted(own.keys() & other.keys())]
    if not pairs:
        return math.nan
    rounding = ROUNDING * max(abs(value) for pair in pairs for value in pair)
    found = fmean(one - two for one, two in pairs)
    return found if abs(found) > rounding else 0.0
