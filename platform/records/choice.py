"""Which of a study's trials is the chosen one, and which trainings confirm that choice; told by their rows alone.

A sweep that has grown may have chosen again: the confirmations of an earlier choice stay in the records and are not judged.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

Row = TypeVar("Row", bound=Mapping[str, Any])


def rank(row: Mapping[str, Any]) -> tuple[float, int]:
    """Orders fully trained tuning trials: the better first objective is more, and of equal ones the earlier trial."""
    sign = 1 if row["modes"][0] == "max" else -1
    return sign * row["values"][0], -row["number"]


def best_trial(rows: Iterable[Row]) -> Row | None:
    """The best of a study's fully trained tuning trials; None where there is none."""
    trained = (
        row
        for row in rows
        if row["stage"] == "tune" and row["status"] == "completed" and row["values"] and math.isfinite(row["values"][0])
    )
    return max(trained, key=rank, default=None)


def confirming(rows: Iterable[Row], best: Mapping[str, Any]) -> list[Row]:
    """Those of a study's confirmations and ablations that are of its best trial.

    Records of older versions do not tell: theirs are of one choice, which in a sweep that has chosen again since is the
    present one if its values are.
    """
    found = [row for row in rows if row["stage"] != "tune"]
    untold = [row for row in found if row["confirms"] is None]
    of_best = [row for row in found if row["confirms"] == best["number"]]
    alone = len(untold) == len(found)
    if alone or any(row["searched"] == best["searched"] for row in untold if row["stage"] == "confirm"):
        of_best += untold
    return of_best


def refusals(refused: Sequence[Mapping[str, Any]], trials: int) -> str:
    """What is to be known of a study's refused draws beside so many trials, as a sentence; "" where there are none."""
    if not refused:
        return ""
    (reason, _), draws = Counter(row["reason"] for row in refused).most_common(1)[0], len(refused) + trials
    return f"{len(refused)} of {draws} draws of its search space cannot be, most often because: {reason}"
