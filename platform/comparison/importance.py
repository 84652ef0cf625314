"""How much each searched setting matters: fANOVA (Hutter et al., 2014) as Optuna computes it, over the fully trained trials."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from regbench.platform.comparison.candidates import Candidate
from regbench.platform.comparison.frames import Row

optuna.logging.set_verbosity(optuna.logging.WARNING)

IMPORTANCE_TRIALS = 8


def importance_of(candidate: Candidate) -> list[Row]:
    """The importance of its searched settings, and rows that say why there is none.

    A setting that is searched under a condition is not in all trials, and fANOVA knows no missing values.
    """
    searched = candidate.source.space(candidate.name, candidate.trials[0]["data"])
    space = {name: limits for name, limits in searched.items() if name not in searched.when}
    tuned = [row | {"searched": _without(row["searched"], searched.when)} for row in candidate.stage("tune", "completed")]
    rows = [row for row in tuned if _within(row, space)]
    missing = ""
    if candidate.learned or not any(row["searched"] for row in candidate.stage("tune")):
        return []
    if not space:
        missing = "the sweep's suite.json does not tell its search space"
    elif len(rows) < IMPORTANCE_TRIALS:
        missing = f"fewer than {IMPORTANCE_TRIALS} fully trained trials inside the search space"
    elif len({row["values"][0] for row in rows}) == 1:
        missing = f"all {len(rows)} fully trained trials have the same {rows[0]['objectives'][0]}"
    if missing:
        return [{"setting": "", "importance": math.nan, "trials": len(rows), "missing": missing}]
    found = importance(rows, space)
    table: list[Row] = [
        {"setting": name, "importance": value, "trials": len(rows), "missing": ""} for name, value in found.items()
    ]
    if searched.when:
        missing = f"of {', '.join(searched.when)}: searched under a condition, and not in all trials"
        table.append({"setting": "", "importance": math.nan, "trials": len(rows), "missing": missing})
    return table


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _within(row: Row, space: Mapping[str, BaseDistribution]) -> bool:
    """Whether a trial can be told to Optuna: population-based training may leave the space, and a value may be infinite."""
    values = row["searched"]
    inside = values.keys() == space.keys() and all(
        limits._contains(limits.to_internal_repr(values[n])) for n, limits in space.items()
    )
    return inside and bool(row["values"]) and all(map(math.isfinite, row["values"]))


def importance(rows: Sequence[Row], space: dict[str, BaseDistribution]) -> dict[str, float]:
    """The share of the first objective's variance that each searched setting explains (fANOVA), largest first.

    Args:
        rows: fully trained tuning trials, with ``searched``, ``values`` and ``modes``.
        space: the search space of their study.
    """
    directions = ["maximize" if mode == "max" else "minimize" for mode in rows[0]["modes"]]
    study = optuna.create_study(directions=directions)
    study.add_trials(
        optuna.trial.create_trial(params=row["searched"], distributions=space, values=row["values"]) for row in rows
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[0])
    return {name: float(value) for name, value in found.items()}
