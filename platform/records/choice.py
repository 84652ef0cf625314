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


def contenders(rows: Iterable[Row], top: int) -> list[Row]:
    """So many of the best of a study's fully trained tuning trials, the best first."""
    trained = (row for row in rows if row["stage"] == "tune" and _has_value(row))
    return sorted(trained, key=rank, reverse=True)[:top]


def best_trial(rows: Iterable[Row]) -> Row | None:
    """The best of a study's fully trained tuning trials; None where there is none."""
    return next(iter(contenders(rows, 1)), None)


def chosen_trial(rows: Iterable[Row], choose: Mapping[str, Any] | None = None) -> Row | None:
    """The tuning trial whose configuration is confirmed; None where none was trained to the end.

    Without a stage of choice it is the best. With one, it is that of the best few whose mean over the further seeds is best.
    The value by which it came among them is not part of that mean: what is picked for its value was lucky there. One that fails
    at one of these seeds loses to all that do not; before it has had all of them, it is not looked at.

    Args:
        rows: of a study, of one replicate.
        choose: ``top`` and ``seeds`` of the stage, as in the suite; None: there is none.
    """
    rows = list(rows)
    found = contenders(rows, choose["top"] if choose else 1)
    if choose is None or len(found) < 2:
        return found[0] if found else None
    means = [_mean(_choosing(rows, row), choose["seeds"]) for row in found]
    best = max(range(len(found)), key=lambda place: (means[place], -place))
    return found[best]


def _choosing(rows: Iterable[Row], contender: Mapping[str, Any]) -> list[Row]:
    return [row for row in rows if row["stage"] == "choose" and row["confirms"] == contender["number"]]


def _mean(rows: Sequence[Mapping[str, Any]], seeds: int) -> float:
    """The mean first objective over the seeds of a choice, so that more is better; the least there is where one is missing."""
    if len(rows) < seeds or not all(map(_has_value, rows)):
        return -math.inf
    return math.fsum(rank(row)[0] for row in rows) / len(rows)


def _has_value(row: Mapping[str, Any]) -> bool:
    return row["status"] == "completed" and bool(row["values"]) and math.isfinite(row["values"][0])


def confirming(rows: Iterable[Row], chosen: Mapping[str, Any]) -> list[Row]:
    """Those of a study's confirmations and ablations that are of its chosen trial.

    Records of older versions do not tell: theirs are of one choice, which in a sweep that has chosen again since is the
    present one if its values are.
    """
    found = [row for row in rows if row["stage"] in ("confirm", "ablate")]
    untold = [row for row in found if row["confirms"] is None]
    of_chosen = [row for row in found if row["confirms"] == chosen["number"]]
    alone = len(untold) == len(found)
    if alone or any(row["searched"] == chosen["searched"] for row in untold if row["stage"] == "confirm"):
        of_chosen += untold
    return of_chosen


def refusals(refused: Sequence[Mapping[str, Any]], trials: int) -> str:
    """What is to be known of a study's refused draws beside so many trials, as a sentence; "" where there are none."""
    if not refused:
        return ""
    (reason, _), draws = Counter(row["reason"] for row in refused).most_common(1)[0], len(refused) + trials
    return f"{len(refused)} of {draws} draws of its search space cannot be, most often because: {reason}"
