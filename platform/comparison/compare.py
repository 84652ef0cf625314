"""Compares the entries of one or more sweeps, from their Parquet records alone.

Only the confirmation stage is judged: the best configuration of each entry, rerun on fresh seeds that all entries share.

* **Mean**: over seeds, with the two-sided 95 % t interval, mean ± t(0.975, n - 1) s / √n.
* **Difference to the baseline** (and to the entry's own weights switched off): paired by seed; its 95 % t interval, and the
  paired t test, corrected by Holm's method over the entries of the table (family-wise error 5 %).
* **Ranks**: within each seed that every entry finished, ties averaged.
* **Over data sets**: ranks of the entries' means, the Friedman test, and Nemenyi's critical difference (Demšar, "Statistical
  Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006).
* **Importance of settings**: fANOVA (Hutter et al., 2014) as Optuna computes it, over the fully trained tuning trials.
"""

import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution, json_to_distribution
from scipy import stats
from statsmodels.stats.multitest import multipletests

from regbench.methods.method import Weight
from regbench.methods.registry import find_method
from regbench.platform.records.records import Records, Stage
from regbench.platform.records.storage import Storage

optuna.logging.set_verbosity(optuna.logging.WARNING)

CONFIDENCE = 0.95
ALPHA = 0.05
IMPORTANCE_TRIALS = 8
ROUNDING = 1e-12

Mode = Literal["max", "min"]
Row = dict[str, Any]
Rows = dict[str, list[Row]]


def _columns(**kinds: str) -> dict[str, str]:
    """Names to type, from types to names: ``_columns(str="track data")``."""
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_PLACE = _columns(str="track data entry")
_ESTIMATE = _columns(int64="n", float64="mean std low high")
_PAIRED = _columns(int64="pairs", float64="value low high p p_holm", str="verdict")
_STATUSES = _columns(int64="completed stopped failed")

FRAMES: dict[str, dict[str, str]] = {
    "entries": _PLACE
    | _columns(str="sweep method arxiv compared_with metric mode", bool="baseline confirmed")
    | _ESTIMATE
    | _columns(float64="rank")
    | {f"difference_{name}": kind for name, kind in _PAIRED.items()}
    | {f"ablation_{name}": kind for name, kind in _PAIRED.items()}
    | _columns(str="tuned_metric configuration learned", float64="tuned_value tuning_seconds training_seconds")
    | _STATUSES,
    "metrics": _PLACE | _columns(str="stage metric mode") | _ESTIMATE,
    "seeds": _PLACE | _columns(str="stage metric", int64="seed", float64="value"),
    "differences": _PLACE | _columns(str="against", int64="seed", float64="value"),
    "curves": _PLACE | _columns(str="metric", int64="seed round", float64="value"),
    "spectra": _PLACE | _columns(str="stage eigenvalue", int64="seed", float64="real imag"),
    "sensitivity": _PLACE
    | _columns(str="setting symbol value objective_name status", bool="weight log", float64="number objective", int64="rounds"),
    "importance": _PLACE | _columns(str="setting missing", float64="importance", int64="trials"),
    "learning": _PLACE
    | _columns(str="quantity how", int64="round", float64="cost lower_iterations linear_iterations seconds value"),
    "trade_offs": _PLACE | _columns(str="trial first second", float64="first_value second_value", bool="front"),
    "ranks": _columns(str="track entry", int64="data_sets", float64="rank"),
    "friedman": _columns(str="track", int64="data_sets entries", float64="statistic p critical_difference"),
    "failures": _PLACE | _columns(str="stage trial reason", int64="seed rounds"),
    "sweeps": _columns(str="sweep hosts devices", int64="trials", float64="wall_seconds training_seconds")
    | _STATUSES
    | {"started": "datetime64[ms, UTC]", "ended": "datetime64[ms, UTC]"},
    "notes": _PLACE | _columns(str="note"),
}
"""The columns of every table of a comparison, with their types."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` values with its 95 % t interval; nan where ``n`` is too small for a quantity."""

    n: int
    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Differences of two series over the seeds that both have, and the p-value of the paired t test.

    ``p`` is 1 where all differences are zero, and nan where there is nothing to test: fewer than two pairs, or a difference
    that is the same at every seed.
    """

    differences: dict[int, float]
    estimate: Estimate
    p: float


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a table as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of ``values``, their standard deviation (n - 1), and the mean's two-sided 95 % t interval."""
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2:
        return Estimate(n, mean, math.nan, math.nan, math.nan)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n)
    return Estimate(n, mean, std, mean - half, mean + half)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """Compares two series, seed -> value, over the seeds that both have: ``first`` minus ``second``."""
    seeds = sorted(first.keys() & second.keys())
    # Sums of equal numbers in another order differ by 1e-17: below this, a difference is rounding.
    rounding = ROUNDING * max((abs(value) for seed in seeds for value in (first[seed], second[seed])), default=0.0)
    differences = {seed: first[seed] - second[seed] for seed in seeds}
    differences = {seed: value if abs(value) > rounding else 0.0 for seed, value in differences.items()}
    found = estimate(list(differences.values()))
    if found.n < 2:
        return Paired(differences, found, math.nan)
    if found.std <= rounding:
        return Paired(differences, found, math.nan if found.mean else 1.0)
    return Paired(differences, found, float(stats.ttest_rel([first[s] for s in seeds], [second[s] for s in seeds]).pvalue))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction over the p-values that are numbers; nan stays nan."""
    corrected = np.array(p, dtype=float)
    tested = np.isfinite(corrected)
    if tested.any():
        corrected[tested] = multipletests(corrected[tested], alpha=ALPHA, method="holm")[1]
    return corrected.tolist()


def verdict(pair: Paired, p: float, mode: str, words: tuple[str, str, str] = ("better", "worse", "no difference shown")) -> str:
    """What a paired comparison says, in words.

    Args:
        pair: the differences.
        p: their corrected p-value.
        mode: whether a larger (``max``) or a smaller (``min``) value is good.
        words: for a good and for a bad difference that the test confirms, and for one that it does not.
    """
    n = pair.estimate.n
    good, bad, undecided = words
    if n < 2:
        return "not tested: no seed in common" if n == 0 else "not tested: 1 seed"
    word = good if (pair.estimate.mean > 0) == (mode == "max") else bad
    if math.isnan(p):
        return f"{word} by the same amount at all {n} seeds: nothing to test"
    if not any(pair.differences.values()):
        return f"identical at {n} seeds"
    return word if p < ALPHA else f"{undecided} at {n} seeds"


def average_ranks(scores: pd.DataFrame, mode: str) -> pd.Series:
    """Average rank of each column (1 is best) over the rows, ties averaged."""
    return scores.rank(axis=1, ascending=mode == "min", method="average").mean()


def friedman(scores: pd.DataFrame) -> tuple[float, float]:
    """Friedman's test, corrected for ties, that the columns rank alike in all rows.

    Args:
        scores: one row per data set, one column per entry.

    Returns:
        Statistic and p-value; nan for fewer than three entries or two data sets, 0 and 1 where all ranks are tied.
    """
    rows, columns = scores.shape
    if rows < 2 or columns < 3:
        return math.nan, math.nan
    if (scores.nunique(axis=1) == 1).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*(scores[name] for name in scores))
    return float(found.statistic), float(found.pvalue)


def critical_difference(entries: int, data_sets: int) -> float:
    """Nemenyi's critical difference of average ranks at 5 %: q √(k (k + 1) / 6 N), q the studentized range over √2."""
    q = stats.studentized_range.ppf(1 - ALPHA, entries, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(entries * (entries + 1) / (6 * data_sets)))


@dataclass(frozen=True)
class Comparison:
    """The result of ``compare``: one table an attribute, columns and types as in ``FRAMES``.

    Attributes:
        entries: one row per (track, data, entry): the estimate of the track's judged test metric, differences, verdicts,
            tuned configuration, effort. Confirmed entries come first, the best of them at the top.
        metrics: every test metric of the confirmed configurations and of their ablations.
        seeds: the same, seed by seed.
        differences: differences of the judged test metric seed by seed, against the baseline or the entry's own ablation.
        curves: validation curves of the confirmed configurations.
        spectra: eigenvalues of the linear operators that the best tuning trial and the confirmation trials ended with, leading
            ones first, where a track reports them; ``system`` is that of the system itself.
        sensitivity: searched values and first objective of the tuning trials.
        importance: of searched settings, or why it is missing.
        learning: what the tuning trial that learned weights recorded in each round, and had spent by then: ``upper_loss``,
            ``hypergradient_norm``, and the weights tried, as ``weight/…``, and learned by then, as ``learned/…``.
        trade_offs: the track's two metrics of the tuning trials, or else both objectives, where two are optimized; ``front``
            marks what none dominates.
        ranks: average ranks over data sets.
        friedman: their test, per track.
        failures: trials that failed.
        sweeps: effort and place of each sweep.
        notes: what a reader must know to read the numbers rightly.
        suites: ``suite.json`` of each sweep.
    """

    entries: pd.DataFrame
    metrics: pd.DataFrame
    seeds: pd.DataFrame
    differences: pd.DataFrame
    curves: pd.DataFrame
    spectra: pd.DataFrame
    sensitivity: pd.DataFrame
    importance: pd.DataFrame
    learning: pd.DataFrame
    trade_offs: pd.DataFrame
    ranks: pd.DataFrame
    friedman: pd.DataFrame
    failures: pd.DataFrame
    sweeps: pd.DataFrame
    notes: pd.DataFrame
    suites: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tables(self) -> list[tuple[str, str]]:
        """Every (track, data set) that has entries, sorted."""
        return sorted(set(zip(self.entries["track"], self.entries["data"], strict=True)))

    def of(self, name: str, track: str, data: str) -> pd.DataFrame:
        """The rows of the table ``name`` that belong to a track and a data set."""
        frame: pd.DataFrame = getattr(self, name)
        return frame[(frame["track"] == track) & (frame["data"] == data)]

    def write(self, storage: Storage) -> None:
        """Writes every table as ``<name>.csv`` and ``<name>.parquet`` into a folder.

        Raises:
            StorageError: the folder cannot be written.
        """
        for name in FRAMES:
            frame: pd.DataFrame = getattr(self, name)
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            storage.write(f"{name}.parquet", buffer.getvalue())
            storage.write(f"{name}.csv", frame.to_csv(index=False).encode())


@dataclass
class Source:
    """A sweep as read: its name (made unique), its trials as rows, and its ``suite.json``."""

    name: str
    records: Records
    trials: list[Row]
    suite: dict[str, Any]

    @cached_property
    def curves(self) -> pa.Table:
        """Every curve of the sweep, read once."""
        return self.records.curves()

    def space(self, entry: str, data: str) -> dict[str, BaseDistribution]:
        """The search space of an entry on a data set; empty where ``suite.json`` does not tell."""
        for study in self.suite.get("studies", []):
            if (study.get("entry"), study.get("data")) == (entry, data):
                return {name: json_to_distribution(text) for name, text in study.get("space", {}).items()}
        return {}


@dataclass(frozen=True)
class Yardstick:
    """By what a track's entries are judged: the metric, the modes of all known metrics, the baseline, what is traded off."""

    metric: str
    modes: dict[str, str]
    baseline: str | None
    trade_off: tuple[str, str] | None

    @property
    def mode(self) -> str:
        """``max`` or ``min``, of the judged metric."""
        return self.modes[self.metric]


@dataclass
class Candidate:
    """An entry on a data set: its trials, and what they say."""

    label: str
    name: str
    source: Source
    trials: list[Row]
    yardstick: Yardstick

    @property
    def method(self) -> str:
        """Slug of its method."""
        return str(self.trials[0]["method"])

    @property
    def is_baseline(self) -> bool:
        """Whether its method is the track's baseline."""
        return self.method == self.yardstick.baseline

    def stage(self, stage: Stage, status: str | None = None) -> list[Row]:
        """Its trials of a stage, by number, of one status or all."""
        found = [row for row in self.trials if row["stage"] == stage and status in (None, row["status"])]
        return sorted(found, key=lambda row: row["number"])

    def scores(self, stage: Stage, metric: str) -> dict[int, float]:
        """``test/<metric>`` by seed, over the stage's completed trials."""
        found = {row["seed"]: row["metrics"].get(f"test/{metric}", math.nan) for row in self.stage(stage, "completed")}
        return {seed: value for seed, value in sorted(found.items()) if math.isfinite(value)}

    @cached_property
    def confirmed(self) -> dict[int, float]:
        """The judged test metric of the confirmed configuration, by seed."""
        return self.scores("confirm", self.yardstick.metric)

    @cached_property
    def best(self) -> Row | None:
        """The best fully trained tuning trial, by the first objective on validation data; None when there is none."""
        rows = [row for row in self.stage("tune", "completed") if row["values"] and math.isfinite(row["values"][0])]
        return max(
            rows, key=lambda row: ((1 if row["modes"][0] == "max" else -1) * row["values"][0], -row["number"]), default=None
        )

    @property
    def configuration(self) -> dict[str, Any]:
        """The searched settings of the confirmed configuration; before confirmation, of the best tuning trial.

        Of a method that learns by itself, on each seed anew, what the best tuning trial learned.
        """
        chosen = self.stage("confirm") or ([self.best] if self.best else [])
        if self.best and self.learned and not self.best["searched"]:
            found = {name: value for name, value in self.best["metrics"].items() if name.startswith("weight/")}
            return {name.removeprefix("weight/"): value for name, value in found.items()}
        return chosen[0]["searched"] if chosen else {}

    @property
    def learned(self) -> str:
        """How its weights were learned in the best tuning trial, with what guarantee; "" where they were not."""
        return (self.best["learned"] or "") if self.best else ""

    @property
    def weights(self) -> dict[str, Weight]:
        """The regularization weights of its method; empty for a method that this installation does not have."""
        known = find_method(self.method)
        return known.weights() if known else {}

    @property
    def weightless(self) -> bool:
        """Whether its method is known to have no weights."""
        return find_method(self.method) is not None and not self.weights


def compare(records: Records | list[Records]) -> Comparison:
    """Compares all entries of one or more sweeps, for each track and data set.

    Args:
        records: of a sweep, or of several; entries of the same name from different sweeps are kept apart.

    Raises:
        StorageError: the records cannot be read.
    """
    sources = _sources([records] if isinstance(records, Records) else records)
    rows: Rows = defaultdict(list)
    rows["sweeps"] = [_sweep(source) for source in sources if source.trials]
    groups = _groups(sources)
    for (track, data), candidates in groups.items():
        _compare_group(track, data, candidates, rows)
    rows["curves"] = _curves(groups)
    rows["learning"] = _learning(groups)
    for track in sorted({track for track, _ in groups}):
        _compare_data_sets(track, rows)
    frames = {name: pd.DataFrame(rows[name], columns=list(kinds)).astype(kinds) for name, kinds in FRAMES.items()}
    return Comparison(**frames, suites={source.name: source.suite for source in sources})


def _sources(records: Iterable[Records]) -> list[Source]:
    found: dict[str, Source] = {}
    for item in records:
        trials = item.trials().to_pylist()
        for row in trials:
            row["metrics"] = dict(row["metrics"] or [])
            row["searched"] = json.loads(row["searched"])
        suite = _suite(item)
        base = trials[0]["sweep"] if trials else suite.get("suite", {}).get("name", "sweep")
        name = next(name for name in [base, *(f"{base} #{n}" for n in range(2, len(found) + 3))] if name not in found)
        found[name] = Source(name, item, trials, suite)
    return list(found.values())


def _suite(records: Records) -> dict[str, Any]:
    try:
        return json.loads(records.storage.read("suite.json"))
    except FileNotFoundError:
        return {}


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


def _groups(sources: list[Source]) -> dict[tuple[str, str], list[Candidate]]:
    """The candidates of each (track, data), sorted; an entry's label names its sweep where two sweeps have the entry."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    by_name = {source.name: source for source in sources}
    order = list(by_name)
    for source in sources:
        for row in source.trials:
            found[row["track"], row["data"]][row["entry"], source.name].append(row)
    groups = {}
    for (track, data), entries in sorted(found.items()):
        yardstick = _yardstick([row for trials in entries.values() for row in trials])
        names = [name for name, _ in entries]
        groups[track, data] = [
            Candidate(name if names.count(name) == 1 else f"{name} ({source})", name, by_name[source], trials, yardstick)
            for (name, source), trials in sorted(entries.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
        ]
    return groups


def _yardstick(trials: list[Row]) -> Yardstick:
    """The metric that all entries were tuned on; where sweeps differ in it, the track's primary one."""
    known = next((method.track for row in trials if (method := find_method(row["method"]))), None)
    modes: dict[str, str] = {metric.name: metric.mode for metric in known.metrics} if known else {}
    modes |= {
        objective.removeprefix("val/"): mode
        for row in trials
        for objective, mode in zip(row["objectives"], row["modes"], strict=True)
    }
    tuned = dict.fromkeys(row["objectives"][0].removeprefix("val/") for row in trials)
    metric = known.primary.name if known and len(tuned) > 1 else next(iter(tuned))
    return Yardstick(metric, modes, known.baseline if known else None, known.trade_off if known else None)


def _baselines(candidates: list[Candidate]) -> dict[str, Candidate]:
    """The candidate to compare with, by sweep: the baseline of the sweep itself, else of the first sweep that has one."""
    found: dict[str, Candidate] = {}
    # An entry called as the baseline's slug is the plain one; others of that method are variants of it.
    for candidate in sorted(candidates, key=lambda candidate: candidate.name != candidate.method):
        if candidate.is_baseline and candidate.confirmed:
            found.setdefault(candidate.source.name, candidate)
    return (
        {candidate.source.name: found.get(candidate.source.name, next(iter(found.values()))) for candidate in candidates}
        if found
        else {}
    )


def _compare_group(track: str, data: str, candidates: list[Candidate], rows: Rows) -> None:
    table = {"track": track, "data": data}
    baselines = _baselines(candidates)
    to_baseline = {
        c.label: paired(c.confirmed, baselines[c.source.name].confirmed)
        for c in candidates
        if c.confirmed and baselines and c is not baselines[c.source.name]
    }
    to_ablation = {
        c.label: paired(c.confirmed, c.scores("ablate", c.yardstick.metric))
        for c in candidates
        if c.confirmed and c.stage("ablate")
    }
    ranks = average_ranks(_blocks(candidates), candidates[0].yardstick.mode)
    mode = candidates[0].yardstick.mode
    difference = _tested(to_baseline, mode, ("better", "worse", "no difference shown"))
    ablation = _tested(to_ablation, mode, ("helps", "hurts", "no effect shown"))
    found = []
    for c in candidates:
        place = table | {"entry": c.label}
        baseline = baselines.get(c.source.name)
        found.append(
            place
            | _facts(c)
            | vars(estimate(list(c.confirmed.values())))
            | {
                "baseline": c is baseline,
                "compared_with": baseline.label if baseline else "",
                "rank": ranks.get(c.label, math.nan),
            }
            | _prefixed(
                "difference", difference.get(c.label), "baseline" if c is baseline else _undecided(c, "no confirmed baseline")
            )
            | _prefixed("ablation", ablation.get(c.label), _undecided(c, "has no weights" if c.weightless else "not ablated"))
        )
        rows["metrics"] += [place | row for row in _metrics(c)]
        rows["seeds"] += [place | row for row in _seeds(c)]
        rows["spectra"] += [place | row for row in _spectra(c)]
        rows["sensitivity"] += [place | row for row in _sensitivity(c)]
        rows["importance"] += [place | row for row in _importance(c)]
        rows["failures"] += [place | row for row in _failures(c)]
    for against, pairs in (("baseline", to_baseline), ("ablation", to_ablation)):
        rows["differences"] += [
            table | {"entry": label, "against": against, "seed": seed, "value": value}
            for label, pair in pairs.items()
            for seed, value in pair.differences.items()
        ]
    rows["entries"] += sorted(found, key=lambda row: _order(row, mode))
    rows["trade_offs"] += [table | row for row in _trade_offs(candidates)]
    rows["notes"] += [table | {"entry": entry, "note": note} for entry, note in _notes(candidates, baselines)]


def _order(row: Row, mode: str) -> tuple[bool, float, str]:
    sign = -1 if mode == "max" else 1
    value = row["mean"] if row["confirmed"] else row["tuned_value"]
    return not row["confirmed"], sign * value if math.isfinite(value) else math.inf, row["entry"]


def _undecided(candidate: Candidate, otherwise: str) -> str:
    return otherwise if candidate.confirmed else "not confirmed"


def _tested(pairs: Mapping[str, Paired], mode: str, words: tuple[str, str, str]) -> dict[str, Row]:
    """A family of paired comparisons, with corrected p-values and verdicts."""
    corrected = holm([pair.p for pair in pairs.values()])
    return {
        label: {
            "pairs": pair.estimate.n,
            "value": pair.estimate.mean,
            "low": pair.estimate.low,
            "high": pair.estimate.high,
            "p": pair.p,
            "p_holm": p,
            "verdict": verdict(pair, p, mode, words),
        }
        for (label, pair), p in zip(pairs.items(), corrected, strict=True)
    }


def _prefixed(prefix: str, found: Row | None, otherwise: str) -> Row:
    missing = {name: 0 if kind == "int64" else math.nan for name, kind in _PAIRED.items()} | {"verdict": otherwise}
    return {f"{prefix}_{name}": value for name, value in (found or missing).items()}


def _blocks(candidates: list[Candidate]) -> pd.DataFrame:
    """The judged test metric, seed by entry, over the seeds that every confirmed entry has."""
    return pd.DataFrame({c.label: pd.Series(c.confirmed, dtype=float) for c in candidates if c.confirmed}).dropna()


def _facts(candidate: Candidate) -> Row:
    tuning, confirming, best = candidate.stage("tune"), candidate.stage("confirm", "completed"), candidate.best
    return {
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
        "tuning_seconds": sum(row["seconds"] for row in tuning),
        "training_seconds": float(np.mean([row["seconds"] for row in confirming])) if confirming else math.nan,
    }


def _test_metrics(candidate: Candidate) -> list[str]:
    """Names of the test metrics that its trials report: the track's in their order, then others."""
    seen = {name.removeprefix("test/") for row in candidate.trials for name in row["metrics"] if name.startswith("test/")}
    known = [name for name in candidate.yardstick.modes if name in seen]
    return known + sorted(seen - set(known))


def _metrics(candidate: Candidate) -> Iterable[Row]:
    for stage in ("confirm", "ablate"):
        for metric in _test_metrics(candidate):
            if values := candidate.scores(stage, metric):
                mode = candidate.yardstick.modes.get(metric, "")
                yield {"stage": stage, "metric": metric, "mode": mode, **vars(estimate(list(values.values())))}


def _seeds(candidate: Candidate) -> Iterable[Row]:
    for stage in ("confirm", "ablate"):
        for metric in _test_metrics(candidate):
            for seed, value in candidate.scores(stage, metric).items():
                yield {"stage": stage, "seed": seed, "metric": metric, "value": value}


def _spectra(candidate: Candidate) -> Iterable[Row]:
    for row in ([candidate.best] if candidate.best else []) + candidate.stage("confirm", "completed"):
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for name, value in row["metrics"].items():
            if name.startswith("spectrum/"):
                eigenvalue, _, part = name.removeprefix("spectrum/").rpartition("_")
                found[eigenvalue][part] = value
        for eigenvalue, parts in sorted(found.items()):
            yield {"stage": row["stage"], "eigenvalue": eigenvalue, "seed": row["seed"], **parts}


def _sensitivity(candidate: Candidate) -> Iterable[Row]:
    space = candidate.source.space(candidate.name, candidate.trials[0]["data"])
    weights = candidate.weights
    for row in candidate.stage("tune"):
        if row["status"] == "failed" or not row["values"] or row["learned"]:
            continue
        for setting, value in row["searched"].items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            limits = space.get(setting)
            yield {
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


def _importance(candidate: Candidate) -> list[Row]:
    space = candidate.source.space(candidate.name, candidate.trials[0]["data"])
    rows = [row for row in candidate.stage("tune", "completed") if _within(row, space)]
    missing = ""
    if candidate.learned or not any(row["searched"] for row in candidate.stage("tune")):
        return []
    if not space:
        missing = "the sweep's suite.json does not tell its search space"
    elif len(rows) < IMPORTANCE_TRIALS:
        missing = f"{len(rows)} fully trained trials inside the search space, {IMPORTANCE_TRIALS} are needed"
    elif len({row["values"][0] for row in rows}) == 1:
        missing = f"all {len(rows)} fully trained trials have the same {rows[0]['objectives'][0]}"
    if missing:
        return [{"setting": "", "importance": math.nan, "trials": len(rows), "missing": missing}]
    found = importance(rows, space)
    return [{"setting": name, "importance": value, "trials": len(rows), "missing": ""} for name, value in found.items()]


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


def _failures(candidate: Candidate) -> Iterable[Row]:
    for row in candidate.trials:
        if row["status"] == "failed":
            reason = row["reason"] or "no reason recorded"
            yield {"stage": row["stage"], "trial": row["key"], "seed": row["seed"], "rounds": row["rounds"], "reason": reason}


def _trade_offs(candidates: list[Candidate]) -> list[Row]:
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


def _notes(candidates: list[Candidate], baselines: Mapping[str, Candidate]) -> Iterable[tuple[str, str]]:
    """What a reader must know to read a table rightly: entry ("" for the whole table) and one sentence."""
    yardstick = candidates[0].yardstick
    confirmed = [c for c in candidates if c.confirmed]
    seeds = sorted(set().union(*(c.confirmed for c in confirmed)))
    for c in candidates:
        yield from ((c.label, note) for note in _entry_notes(c, seeds, baselines.get(c.source.name)))
    if confirmed and not baselines:
        yield "", f"no confirmed baseline ({yardstick.baseline or 'the track is not installed here'}): no paired differences"
    if len(confirmed) > 1 and len(blocks := _blocks(candidates)) < len(seeds):
        yield "", f"ranks are over the {len(blocks)} of {len(seeds)} seeds that every confirmed entry has"
    for what, values in _unequal(candidates).items():
        yield "", f"the comparison is not at equal {what}: " + ", ".join(f"{label} {value}" for label, value in values.items())


def _entry_notes(candidate: Candidate, seeds: list[int], baseline: Candidate | None) -> Iterable[str]:
    test = f"test/{candidate.yardstick.metric}"
    if candidate.learned:
        again = any(row["learned"] for row in candidate.stage("confirm"))
        where = "training data, and again on each seed" if again else "validation data"
        yield f"weights learned by {candidate.learned}, in one tuning trial, on {where}"
    if not candidate.confirmed:
        if any(row["status"] == "completed" for row in candidate.stage("confirm")):
            yield f"its confirmation trials report no {test}"
        elif candidate.best is None:
            yield "no tuning trial was trained to its end: nothing to confirm"
        else:
            yield "not confirmed: known is only the validation value of its best tuning trial, optimistic and no test result"
        return
    if missing := [seed for seed in seeds if seed not in candidate.confirmed]:
        yield f"has no result for seed {', '.join(map(str, missing))}: compared over the seeds that both sides have"
    if len(candidate.confirmed) == 1:
        yield "one seed only: no interval and no test"
    if len(values := candidate.confirmed) > 1 and max(values.values()) == min(values.values()):
        yield f"gives the same {test} at every seed: its interval has no width"
    if (tuned := candidate.trials[0]["objectives"][0]) != f"val/{candidate.yardstick.metric}":
        yield f"tuned on {tuned}, but judged on {test}"
    if baseline and baseline.source is not candidate.source:
        yield f"compared with {baseline.label} of another sweep, {baseline.source.name}"


def _unequal(candidates: list[Candidate]) -> dict[str, dict[str, int]]:
    """Budgets that differ between the entries of a table; a training that learns by gradient has rounds of another kind."""
    searched = [c for c in candidates if c.weights and not c.learned] if any(c.learned for c in candidates) else candidates
    budgets = {
        "numbers of tuning trials": {c.label: len(tuning) for c in searched if (tuning := c.stage("tune"))},
        "lengths of training (rounds)": {
            c.label: max(lengths)
            for c in candidates
            if not any(row["learned"] for row in c.stage("confirm"))
            and (lengths := [row["planned_rounds"] for row in c.trials if not row["learned"]])
        },
    }
    return {what: values for what, values in budgets.items() if len(set(values.values())) > 1}


def _curves(groups: Mapping[tuple[str, str], list[Candidate]]) -> list[Row]:
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


def _learning(groups: Mapping[tuple[str, str], list[Candidate]]) -> list[Row]:
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
