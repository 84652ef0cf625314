"""What the trials of one entry say besides its mean: a function for each table of the comparison."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from optuna.distributions import FloatDistribution, IntDistribution

from regbench.platform.comparison.candidates import Candidate
from regbench.platform.comparison.frames import Row
from regbench.platform.comparison.statistics import estimate


def facts(candidate: Candidate, baseline: Candidate | None) -> Row:
    """What it is, its mean over seeds or replicates, how it was tuned, and what that cost."""
    tuning, best = candidate.stage("tune"), candidate.best
    units = candidate.unit_scores("confirm", candidate.yardstick.metric)
    seconds = _training_seconds(candidate)
    return {
        **vars(estimate(list(units.values()), candidate.correlation)),
        "unit": candidate.source.design.unit_name,
        "units": len(units),
        "seeds": len(candidate.confirmed),
        "design": "fixed" if candidate.source.design.at_most is None else "until decided",
        "cost": seconds / _training_seconds(baseline) if baseline else math.nan,
        "sweep": candidate.source.name,
        "method": candidate.method,
        "arxiv": candidate.trials[0]["arxiv"] or "",
        "metric": candidate.yardstick.metric,
        "mode": candidate.yardstick.mode,
        "confirmed": bool(candidate.confirmed),
        "tuned_metric": candidate.trials[0]["objectives"][0],
        "tuned_value": best["values"][0] if best else math.nan,
        "configuration": json.dumps(candidate.configuration),
        "learned": candidate.learned,
        **{status: sum(row["status"] == status for row in tuning) for status in ("completed", "stopped", "failed")},
        "choices": len(candidate.stage("choose")),
        "tuning_seconds": sum(row["seconds"] for row in [*tuning, *candidate.stage("choose")]),
        "training_seconds": seconds,
    }


def _training_seconds(candidate: Candidate) -> float:
    """Of a confirmation, on average; nan where there is none."""
    confirming = candidate.stage("confirm", "completed")
    return float(np.mean([row["seconds"] for row in confirming])) if confirming else math.nan


def tuned_weights(candidate: Candidate) -> Iterable[Row]:
    """The regularization weights of the chosen configuration, by replicate: those that were tuned, or where none was, all."""
    for number, row in candidate.chosen.items():
        values = candidate.configuration if candidate.learned else row["searched"]
        names = [name for name in candidate.weights if name in values]
        if not names:
            values = json.loads(row["settings"])
            names = [name for name in candidate.weights if name in values]
        for name in names:
            value = values[name]
            yield {
                "setting": name,
                "symbol": candidate.weights[name].symbol,
                "replicate": number,
                "number": float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan,
                "value": value if isinstance(value, str) else json.dumps(value),
            }


def _test_metrics(candidate: Candidate) -> list[str]:
    """Names of the test metrics that its trials report: the track's in their order, then others."""
    seen = {name.removeprefix("test/") for row in candidate.trials for name in row["metrics"] if name.startswith("test/")}
    known = [name for name in candidate.yardstick.modes if name in seen]
    return known + sorted(seen - set(known))


def test_metrics(candidate: Candidate) -> Iterable[Row]:
    """Every test metric of its confirmation and its ablation, over seeds or replicates."""
    for stage in ("confirm", "ablate"):
        for metric in _test_metrics(candidate):
            if values := candidate.unit_scores(stage, metric):
                mode = candidate.yardstick.modes.get(metric, "")
                yield {
                    "stage": stage,
                    "metric": metric,
                    "mode": mode,
                    **vars(estimate(list(values.values()), candidate.correlation)),
                }


def test_values(candidate: Candidate) -> Iterable[Row]:
    """Every test metric of its confirmation and its ablation, seed by seed."""
    for stage in ("confirm", "ablate"):
        for metric in _test_metrics(candidate):
            for seed, value in candidate.scores(stage, metric).items():
                yield {"stage": stage, "seed": seed, "metric": metric, "value": value}


def spectra(candidate: Candidate) -> Iterable[Row]:
    """Eigenvalues of the linear operators that its best tuning trial and its confirmation trials ended with."""
    for row in ([candidate.best] if candidate.best else []) + candidate.stage("confirm", "completed"):
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for name, value in row["metrics"].items():
            if name.startswith("spectrum/"):
                eigenvalue, _, part = name.removeprefix("spectrum/").rpartition("_")
                found[eigenvalue][part] = value
        for eigenvalue, parts in sorted(found.items()):
            yield {"stage": row["stage"], "eigenvalue": eigenvalue, "seed": row["seed"], **parts}


def sensitivity(candidate: Candidate) -> Iterable[Row]:
    """Each searched value of its tuning trials with the first objective that it led to."""
    space = candidate.source.space(candidate.name, candidate.trials[0]["data"])
    weights = candidate.weights
    for row in candidate.stage("tune"):
        if row["status"] == "failed" or not row["values"] or row["learned"]:
            continue
        for setting, value in row["searched"].items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            limits = space.get(setting)
            yield {
                "trial": row["key"],
                "setting": setting,
                "symbol": weights[setting].symbol if setting in weights else "",
                "weight": setting in weights,
                "log": isinstance(limits, FloatDistribution | IntDistribution) and limits.log,
                "value": value if isinstance(value, str) else json.dumps(value),
                "number": float(value) if numeric else math.nan,
                "objective_name": row["objectives"][0],
                "objective": row["values"][0],
                "status": row["status"],
                "rounds": row["rounds"],
            }


def failures(candidate: Candidate) -> Iterable[Row]:
    """Its trials that failed, with the reasons."""
    for row in candidate.trials:
        if row["status"] == "failed":
            reason = row["reason"] or "no reason recorded"
            yield {"stage": row["stage"], "trial": row["key"], "seed": row["seed"], "rounds": row["rounds"], "reason": reason}


def trade_offs(candidates: list[Candidate]) -> list[Row]:
    """What is traded off by the fully trained tuning trials of a table: the track's two metrics, or two objectives."""
    yardstick = candidates[0].yardstick
    tuned = [(c, row) for c in candidates for row in c.stage("tune", "completed")]
    if yardstick.trade_off:
        names = [f"val/{name}" for name in yardstick.trade_off]
    else:
        names = next((row["objectives"] for _, row in tuned if len(row["objectives"]) == 2), [])
        tuned = [(c, row) for c, row in tuned if row["objectives"] == names]
    rows = [(c, row, [row["metrics"].get(name, math.nan) for name in names]) for c, row in tuned]
    rows = [(c, row, values) for c, row, values in rows if all(map(math.isfinite, values))]
    if not rows:
        return []
    signs = [-1 if yardstick.modes[name.removeprefix("val/")] == "max" else 1 for name in names]
    losses = np.array([values for *_, values in rows]) * signs  # [N, 2]
    dominated = [bool(((losses <= loss).all(1) & (losses < loss).any(1)).any()) for loss in losses]
    return [
        {
            "entry": c.label,
            "trial": row["key"],
            "first": names[0],
            "second": names[1],
            "first_value": values[0],
            "second_value": values[1],
            "front": not worse,
        }
        for (c, row, values), worse in zip(rows, dominated, strict=True)
    ]


def curves(groups: Mapping[tuple[str, str], list[Candidate]]) -> list[Row]:
    """Validation curves of the confirmation trials, in the judged metric."""
    found: list[Row] = []
    for (track, data), candidates in groups.items():
        for c in candidates:
            metric = f"val/{c.yardstick.metric}"
            confirming = {row["key"]: row["seed"] for row in c.stage("confirm", "completed")}
            table = c.source.curves
            keep = pc.and_(pc.is_in(table["key"], pa.array(list(confirming), "string")), pc.equal(table["metric"], metric))
            found += [
                {"track": track, "data": data, "entry": c.label, "seed": confirming[row["key"]], "metric": metric}
                | {"round": row["round"], "value": row["value"]}
                for row in table.filter(keep).select(["key", "round", "value"]).to_pylist()
            ]
    return found


# What is shown of a trial that learns, besides its weights, and over what it had spent by then.
LEARNING = ("learn/upper_loss", "learn/hypergradient_norm")

SPENT = ("cost", "lower_iterations", "linear_iterations")


def learning(groups: Mapping[tuple[str, str], list[Candidate]]) -> list[Row]:
    """The records of the tuning trials that learned weights."""
    found: list[Row] = []
    for (track, data), candidates in groups.items():
        for c in candidates:
            if not c.learned or c.best is None:
                continue
            rounds: dict[int, dict[str, float]] = defaultdict(dict)
            seconds: dict[int, float] = {}
            table = c.source.curves
            for row in table.filter(pc.equal(table["key"], c.best["key"])).to_pylist():
                rounds[row["round"]][row["metric"]] = row["value"]
                seconds[row["round"]] = row["seconds"]
            for number, values in sorted(rounds.items()):
                spent = {name: values.get(f"learn/{name}", 0.0) for name in SPENT} | {"seconds": seconds[number]}
                for name, value in values.items():
                    if name in LEARNING or name.startswith(("weight/", "learned/")):
                        found.append(
                            {"track": track, "data": data, "entry": c.label, "how": c.learned, "round": number}
                            | {"quantity": name.removeprefix("learn/"), **spent, "value": value}
                        )
    return found
