"""The answer table: one row an entry, with the same cells in the terminal and in the report."""

import math

import pandas as pd

from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.text import NONE, direction, weights_text


def answer(comparison: Comparison, track: str, data: str) -> list[Row]:
    """The rows of ``entries``, confirmed ones first, with text: each of the ``weights``, ``cost_text``, ``units_text``."""
    weights = comparison.of("weights", track, data)
    return [
        row
        | {
            "weights": _weights(weights[weights["entry"] == row["entry"]]),
            "cost_text": cost_text(row["cost"]),
            "units_text": units_text(row),
        }
        for row in rows_of(comparison.of("entries", track, data))
    ]


def _weights(rows: pd.DataFrame) -> list[str]:
    return [weights_text(rows_of(own)) for _, own in rows.groupby("setting", sort=False)]


ORIGINS = {"tuning": "tuning", "split": "the split of the data", "seed": "the seed of training"}


def cost_text(cost: float) -> str:
    """The time of a training as a multiple of the baseline's."""
    return NONE if math.isnan(cost) else f"{cost:.2f} ×" if cost < 10 else f"{cost:.0f} ×"


def units_text(row: Row) -> str:
    """What tests count, and how many of them an entry has: ``5 seeds``, ``10 replicates (20 seeds)``."""
    if not row["confirmed"]:
        return NONE
    units = _counted(row["units"], row["unit"])
    return units if row["unit"] == "seed" else f"{units} ({_counted(row['seeds'], 'seed')})"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def intervals_text(row: Row) -> str:
    """What the intervals of differences are, in half a sentence."""
    if row["design"] == "fixed":
        return f"simultaneous 95 % intervals over {row['unit']}s, Holm-adjusted"
    return f"95 % confidence sequences over {row['unit']}s, valid whenever one stops"


def judged_text(row: Row) -> str:
    """By what entries are judged, and which way is good: ``test accuracy (higher is better)``."""
    return f"test {row['metric']} ({direction(row['mode'])})"


def variance_text(comparison: Comparison, track: str, data: str) -> str:
    """Where the judged metric's variance comes from; with one replicate, that tuning's luck is not in the intervals."""
    entries = comparison.of("entries", track, data).query("confirmed")
    shares = [row for row in rows_of(comparison.variance) if (row["track"], row["data"]) == (track, data) and row["share"] >= 0]
    if shares:
        told = ", ".join(f"{100 * row['share']:.0f} % from {ORIGINS[row['component']]}" for row in shares)
        return f"Variance of test {entries.iloc[0]['metric']}: {told}."
    if entries.empty or (entries["unit"] == "replicate").any():
        return ""
    return (
        "Tuned once: intervals cover the luck of the seeds, not that of tuning and of the split, which replicates would show."
    )
