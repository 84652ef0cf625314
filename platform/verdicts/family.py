"""When the comparisons of a table are decided: Holm's correction, the intervals that go with it, and looks unit by unit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regbench.platform.verdicts.anytime import interval, p_values

ALPHA = 0.05

End = Literal["above", "below", "equivalent", "constant", "undecided", "open"]


@dataclass(frozen=True)
class Rules:
    """What decides a comparison.

    Attributes:
        first: units that every comparison gets; no decision is taken before.
        at_most: units after which one that is not decided stays so.
        relevant: the smallest difference that would matter.
        correlation: of units whose data overlap, as test rows / other rows; see `regbench.platform.verdicts.anytime`.
    """

    first: int
    at_most: int
    relevant: float
    correlation: float = 0.0


@dataclass(frozen=True)
class Series:
    """The paired differences of one comparison, unit by unit; nan for a unit that one of the two sides has lost.

    ``constant`` where each of the two sides has one value at all of its first units: further ones can tell nothing.
    """

    differences: Sequence[float]
    constant: bool = False


@dataclass(frozen=True)
class Decision:
    """How a comparison stands.

    Attributes:
        end: ``above`` or ``below`` zero, ``equivalent``, ``constant``, ``undecided`` at the limit, or ``open``.
        units: how many of its units count, lost ones among them: those up to the decision, whatever was trained ahead.
        p: anytime-valid p-value.
        p_holm: the same, corrected over the table.
        low: end of the simultaneous confidence sequence.
        high: the other end.
        distance: how far an open one is from a decision: below 1 it would be there.
    """

    end: End
    units: int
    p: float
    p_holm: float
    low: float
    high: float
    distance: float = math.inf


def steps(p: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Holm's step-down method ("A simple sequentially rejective multiple test procedure", 1979) on tables of p-values.

    Not from statsmodels, which collects garbage at each call: a twentieth of a second at each look.

    Args:
        p: ``[..., K]``; nan for what was not tested.

    Returns:
        Corrected p-values, nan for nan, and how many hypotheses were left at the step of each, both ``[..., K]``.
    """
    values = np.asarray(p, dtype=float)
    order = values.argsort(axis=-1, kind="stable")  # nan last
    left = np.isfinite(values).sum(axis=-1, keepdims=True) - np.arange(values.shape[-1])
    corrected = np.minimum(1.0, np.maximum.accumulate(left * np.take_along_axis(values, order, axis=-1), axis=-1))
    place = order.argsort(axis=-1, kind="stable")
    return np.take_along_axis(corrected, place, axis=-1), np.take_along_axis(left, place, axis=-1)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction over the p-values that are numbers; nan stays nan."""
    return steps(p)[0].tolist()


def levels(p: Sequence[float]) -> list[float]:
    """The α of each comparison's interval, so that it excludes zero if and only if Holm's method rejects its hypothesis.

    What is rejected has the level of its step (Serlin, "Confidence intervals and the scientific method: a case for Holm on the
    range", 1993), α over the hypotheses that were left then; all others have Bonferroni's, so that the chance that one of their
    intervals misses, and with it that one is wrongly called equivalent, is at most α over the table.

    Args:
        p: uncorrected; nan for what was not tested, which gets the level of what is not rejected.
    """
    corrected, left = steps(p)
    tested = max(1, int(np.isfinite(corrected).sum()))
    return (ALPHA / np.where(corrected < ALPHA, left, tested)).tolist()


def decide(series: Mapping[str, Series], rules: Rules) -> dict[str, Decision]:
    """Decides the comparisons of a table, look by look: after the first units, then after each further one.

    A look is taken when every comparison that is open has the unit. What is decided stays so, with the units that it had then:
    what is trained ahead of a decision, and in which order, changes nothing.

    Args:
        series: of the comparisons, by name.
        rules: when one is decided.
    """
    p = _all_running(series, rules)
    decided: dict[str, Decision] = {}
    look, latest = rules.first, dict.fromkeys(series, 0)
    while waiting := [name for name in series if name not in decided]:
        ready = all(len(series[name].differences) >= look for name in waiting)
        at = look if ready else look - 1
        latest |= {name: min(at, len(series[name].differences)) for name in waiting}
        found = _look(series, p, latest, rules)
        if not ready:
            return {name: decided.get(name, found[name]) for name in series}
        ended = {name: found[name] for name in waiting if found[name].end != "open"}
        if look >= rules.at_most:
            ended |= {name: _ended(found[name]) for name in waiting if name not in ended}
        decided |= ended
        look += 1
    return {name: decided[name] for name in series}


def settle(
    series: Mapping[str, Series], decisions: Mapping[str, Decision], units: Mapping[str, int], rules: Rules
) -> dict[str, Decision]:
    """The decisions of a table with the figures of all units that were trained in the end, which may be more than decided it.

    p-values only fall, and intervals narrow, but for those that outliers have moved; where these would contradict a decision,
    it keeps the figures that it was made on.

    Args:
        series: of the comparisons.
        decisions: of ``decide``.
        units: how many units of each count.
        rules: of the decisions.
    """
    p = [found[units[name] - 1] if units[name] else 1.0 for name, found in _all_running(series, rules).items()]
    settled = {}
    for name, value, corrected, alpha in zip(series, p, holm(p), levels(p), strict=True):
        low, high = interval(_kept(series[name].differences[: units[name]]), alpha, rules.correlation)
        end = decisions[name].end
        moved = low <= 0 <= high if end in ("above", "below") else max(-low, high) > rules.relevant
        contradicted = moved and end in ("above", "below", "equivalent")
        figures = replace(decisions[name], units=units[name], p=value, p_holm=corrected, low=low, high=high)
        settled[name] = decisions[name] if contradicted else figures
    return settled


def _all_running(series: Mapping[str, Series], rules: Rules) -> dict[str, list[float]]:
    return {name: _running_p(found.differences, rules) for name, found in series.items()}


def _kept(differences: Sequence[float]) -> list[float]:
    return [value for value in differences if math.isfinite(value)]


def _running_p(differences: Sequence[float], rules: Rules) -> list[float]:
    """P after each unit; a lost one tells nothing."""
    kept = _kept(differences)
    found = iter(p_values(kept, rules.correlation).tolist()) if kept else iter(())
    running, last = [], 1.0
    for value in differences:
        last = next(found) if math.isfinite(value) else last
        running.append(last)
    return running


def _look(
    series: Mapping[str, Series], running: Mapping[str, list[float]], latest: Mapping[str, int], rules: Rules
) -> dict[str, Decision]:
    p = [running[name][latest[name] - 1] if latest[name] else 1.0 for name in series]
    decisions = {}
    for name, value, corrected, alpha in zip(series, p, holm(p), levels(p), strict=True):
        differences = _kept(series[name].differences[: latest[name]])
        low, high = interval(differences, alpha, rules.correlation)
        if latest[name] and not differences:
            # Every unit so far is lost: further ones would be, too.
            end: End = "undecided"
        elif series[name].constant and differences and differences[-1]:
            end = "constant"
        elif max(-low, high) <= rules.relevant:
            end = "equivalent"
        elif corrected < ALPHA:
            # Where the intervals have nothing in common, they tell no direction.
            end = "above" if low > 0 else "below" if high < 0 else "open"
        else:
            end = "open"
        distance = min(corrected / ALPHA, max(-low, high) / rules.relevant)
        decisions[name] = Decision(end, latest[name], value, corrected, low, high, distance)
    return decisions


def _ended(found: Decision) -> Decision:
    return Decision("undecided", found.units, found.p, found.p_holm, found.low, found.high)
