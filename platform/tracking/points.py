"""What MLflow's runs hold in numbers: the metric points of a trial's reports, metrics that a run has once, parameters."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from regbench.platform.records.records import Report, Trial
from regbench.platform.tracking.names import mlflow_name

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param

# The step of a metric that a run has once: the UI shows such metrics as bars, and others as curves.
ONCE = 0


def points(trial: Trial, reports: Sequence[Report], after: int, changing: bool) -> "Iterator[Metric]":
    """Metric points of the rounds after ``after``: what was reported, and the best so far of each objective.

    Population-based training (``changing``) gives a running trial new settings: they are metrics then, since parameters cannot
    change. The first objective comes last in its round: a round that has it is there as a whole.
    """
    from mlflow.entities import Metric

    best: dict[str, float] = {}
    for report in reports:
        values = dict(report.metrics)
        for name, mode in zip(trial.objectives, trial.modes, strict=True):
            pick = max if mode == "max" else min
            best[name] = pick(best.get(name, values[name]), values[name])
            values[f"best/{name}"] = best[name]
        if changing:
            searched = report.searched or {}
            values |= {f"param/{name}": float(value) for name, value in searched.items() if isinstance(value, int | float)}
        values[trial.objectives[0]] = values.pop(trial.objectives[0])
        if report.round > after:
            stamp = milliseconds(report.time)
            yield from (
                Metric(mlflow_name(name), value, stamp, ONCE if name.startswith("test/") else report.round)
                for name, value in values.items()
            )


def once(values: dict[str, float], when: datetime) -> "list[Metric]":
    """Metrics that a run has once, as points."""
    from mlflow.entities import Metric

    return [Metric(mlflow_name(name), value, milliseconds(when.timestamp()), ONCE) for name, value in values.items()]


def params(values: dict[str, Any]) -> "list[Param]":
    """Values as parameters, under names that MLflow takes."""
    from mlflow.entities import Param

    return [Param(mlflow_name(name), str(value)) for name, value in values.items()]


def milliseconds(seconds: float) -> int:
    """A time as MLflow counts it."""
    return round(seconds * 1000)
