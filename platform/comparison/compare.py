"""Compares the entries of one or more sweeps, from their Parquet records alone.

Only the confirmation stage is judged: the chosen configuration of each entry, rerun on fresh seeds that all entries share.
Entries are compared with the baseline, and with their own weights switched off, paired by seed or replicate, corrected over the
table. Ranks are within each seed or replicate that every entry finished, and over data sets of the entries' means.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import pandas as pd

from regbench.platform.comparison.candidates import Candidate, Source, baselines_of, grouped, on_shared_units, read_sources
from regbench.platform.comparison.details import (
    curves,
    facts,
    failures,
    learning,
    sensitivity,
    spectra,
    test_metrics,
    test_values,
    trade_offs,
    tuned_weights,
)
from regbench.platform.comparison.diagnostics import diagnostics, predictors
from regbench.platform.comparison.frames import FRAMES, PAIRED, Comparison, Row, Rows
from regbench.platform.comparison.importance import importance_of
from regbench.platform.comparison.judging import judge, relevant
from regbench.platform.comparison.notes import notes_on
from regbench.platform.comparison.statistics import (
    average_ranks,
    critical_difference,
    friedman,
)
from regbench.platform.comparison.variance import variance
from regbench.platform.records.records import Records


def compare(records: Records | list[Records]) -> Comparison:
    """Compares all entries of one or more sweeps, for each track and data set.

    Args:
        records: of a sweep, or of several; entries of the same name from different sweeps are kept apart.

    Raises:
        StorageError: the records cannot be read.
    """
    sources = read_sources([records] if isinstance(records, Records) else records)
    rows: Rows = defaultdict(list)
    rows["sweeps"] = [_sweep(source) for source in sources if source.trials]
    groups = grouped(sources)
    for (track, data), candidates in groups.items():
        _compare_group(track, data, candidates, rows)
    rows["curves"] = curves(groups)
    rows["diagnostics"] = diagnostics(groups)
    rows["learning"] = learning(groups)
    for track in sorted({track for track, _ in groups}):
        _compare_data_sets(track, rows)
    frames = {name: pd.DataFrame(rows[name], columns=list(kinds)).astype(kinds) for name, kinds in FRAMES.items()}
    return Comparison(**frames, suites={source.name: source.suite for source in sources})


def _sweep(source: Source) -> Row:
    trials = source.trials
    started, ended = min(row["started"] for row in trials), max(row["ended"] for row in trials)
    return {
        "sweep": source.name,
        "trials": len(trials),
        **{status: sum(row["status"] == status for row in trials) for status in ("completed", "stopped", "failed")},
        "started": started,
        "ended": ended,
        "wall_seconds": (ended - started).total_seconds(),
        "training_seconds": sum(row["seconds"] for row in trials),
        "hosts": ", ".join(sorted({row["host"] for row in trials if row["host"]})),
        "devices": ", ".join(sorted({row["device"] for row in trials if row["device"]})),
    }


def _compare_group(track: str, data: str, candidates: list[Candidate], rows: Rows) -> None:
    table = {"track": track, "data": data}
    baselines = baselines_of(candidates)
    to_baseline, to_itself = judge(candidates, baselines)
    mode = candidates[0].yardstick.mode
    ranks = average_ranks(on_shared_units(candidates), mode)
    found = []
    for c in candidates:
        place = table | {"entry": c.label}
        baseline = baselines.get(c.source.name)
        found.append(
            place
            | facts(c, baseline)
            | {
                "baseline": c is baseline,
                "compared_with": baseline.label if baseline else "",
                "rank": ranks.get(c.label, math.nan),
                "relevant": relevant(c, baselines),
            }
            | _prefixed(
                "difference",
                to_baseline.rows.get(c.label),
                "baseline" if c is baseline else _undecided(c, "no confirmed baseline"),
            )
            | _prefixed(
                "ablation", to_itself.rows.get(c.label), _undecided(c, "has no weights" if c.weightless else "not ablated")
            )
        )
        rows["metrics"] += [place | row for row in test_metrics(c)]
        rows["seeds"] += [place | row for row in test_values(c)]
        rows["weights"] += [place | row for row in tuned_weights(c)]
        for name, diagnose in (("spectra", spectra), ("sensitivity", sensitivity), ("importance", importance_of)):
            _add_diagnosis(rows, name, place, partial(diagnose, c))
        rows["failures"] += [place | row for row in failures(c)]
    for against, judged in (("baseline", to_baseline), ("ablation", to_itself)):
        rows["differences"] += [
            table | {"entry": label, "against": against, "seed": unit, "value": value}
            for label, differences in judged.differences.items()
            for unit, value in differences.items()
        ]
    rows["variance"] += [table | row for row in variance(candidates)]
    rows["entries"] += sorted(found, key=lambda row: _order(row, mode))
    _add_diagnosis(rows, "trade_offs", table | {"entry": ""}, partial(trade_offs, candidates))
    _add_diagnosis(rows, "predictors", table, partial(predictors, candidates))
    rows["notes"] += [table | {"entry": entry, "note": note} for entry, note in notes_on(candidates, baselines)]


def _add_diagnosis(rows: Rows, name: str, place: Row, diagnose: Callable[[], Iterable[Row]]) -> None:
    """Adds what a diagnosis finds; one that cannot be made costs itself and a line, and never the answer."""
    try:
        rows[name] += [place | row for row in diagnose()]
    except Exception as error:
        rows["notes"].append(place | {"note": f"no {name.replace('_', ' ')} here: {type(error).__name__}: {error}"})


def _order(row: Row, mode: str) -> tuple[bool, float, str]:
    sign = -1 if mode == "max" else 1
    value = row["mean"] if row["confirmed"] else row["tuned_value"]
    return not row["confirmed"], sign * value if math.isfinite(value) else math.inf, row["entry"]


def _undecided(candidate: Candidate, otherwise: str) -> str:
    return otherwise if candidate.confirmed else "not confirmed"


def _prefixed(prefix: str, found: Row | None, otherwise: str) -> Row:
    missing = {name: 0 if kind == "int64" else math.nan for name, kind in PAIRED.items()} | {"verdict": otherwise}
    return {f"{prefix}_{name}": value for name, value in (found or missing).items()}


def _compare_data_sets(track: str, rows: Rows) -> None:
    """Ranks the entries over the data sets of a track, where there are two or more."""
    confirmed = [row for row in rows["entries"] if row["track"] == track and row["confirmed"]]
    everywhere = {row["data"] for row in rows["entries"] if row["track"] == track}
    if len(everywhere) < 2:
        return
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for row in confirmed:
        means[row["entry"]][row["data"]] = row["mean"]
    scores = pd.DataFrame({entry: values for entry, values in means.items() if values.keys() == everywhere})
    note = {"track": track, "data": "", "entry": ""}
    if left_out := sorted(
        entry for entry in {r["entry"] for r in rows["entries"] if r["track"] == track} if entry not in scores
    ):
        rows["notes"].append(
            note | {"note": f"not ranked over data sets, for want of a confirmed result on each: {', '.join(left_out)}"}
        )
    data_sets, entries = scores.shape
    if entries < 2:
        return
    ranks = average_ranks(scores, confirmed[0]["mode"]).sort_values(kind="stable")
    rows["ranks"] += [{"track": track, "entry": name, "data_sets": data_sets, "rank": rank} for name, rank in ranks.items()]
    statistic, p = friedman(scores)
    if entries < 3:
        rows["notes"].append(note | {"note": "two entries: ranks over data sets are shown, but the Friedman test needs three"})
    difference = critical_difference(entries, data_sets)
    rows["friedman"].append(
        {
            "track": track,
            "data_sets": data_sets,
            "entries": entries,
            "statistic": statistic,
            "p": p,
            "critical_difference": difference,
        }
    )
