"""Who is compared: the sweeps as read, the entries on each data set, by what they are judged and with whom."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import pandas as pd
import pyarrow as pa

from regbench.methods.errors import RegbenchError
from regbench.methods.method import Weight
from regbench.methods.metrics import metrics_of
from regbench.methods.registry import find_method
from regbench.platform.comparison.frames import Row
from regbench.platform.records.choice import chosen_trial, confirming
from regbench.platform.records.plugins import activate_kept
from regbench.platform.records.records import Records, Stage
from regbench.platform.records.suite_file import FILE, DamagedSuiteError, read_suite_file
from regbench.platform.verdicts.units import Design, correlation
from regbench.search_spaces.space import SearchSpace, read_space


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

    @cached_property
    def design(self) -> Design:
        """How much of it was run, and what decides its comparisons."""
        return Design.of(self.suite.get("suite") or {})

    @cached_property
    def tuned_with(self) -> set[int]:
        """The seeds of the sweep's tuning trials: what was chosen with one of them is not confirmed on it."""
        return {row["seed"] for row in self.trials if row["stage"] == "tune"}

    def study(self, entry: str, data: str) -> dict[str, Any]:
        """What ``suite.json`` tells of an entry on a data set; nothing where it does not."""
        found = (study for study in self.suite.get("studies", []) if (study.get("entry"), study.get("data")) == (entry, data))
        return next(found, {})

    def planned(self, entry: str, data: str) -> dict[str, int]:
        """How many tuning trials, and draws for them, an entry has on a data set in each replicate."""
        study = self.study(entry, data)
        trials = study.get("trials", 0)
        return {"trials": trials, "draws": study.get("draws", trials)}

    def ablated(self, entry: str, data: str) -> bool:
        """Whether an entry on a data set is trained with its weights off, too."""
        confirm = (self.suite.get("suite") or {}).get("confirm") or {}
        return bool(confirm.get("ablate", True) and self.study(entry, data).get("weights"))

    def overlap(self, entry: str, data: str) -> float:
        """The share of the rows behind a data set that each replicate's split tests on, where these overlap, and else 0."""
        return float(self.study(entry, data).get("overlap", 0.0))

    def correlation(self, entry: str, data: str) -> float:
        """Of differences of replicates whose splits overlap; see `regbench.platform.verdicts.anytime`."""
        return correlation(self.overlap(entry, data))

    def space(self, entry: str, data: str) -> SearchSpace:
        """The search space of an entry on a data set; empty where ``suite.json`` does not tell."""
        try:
            return read_space(self.study(entry, data))
        except ValueError:
            return SearchSpace()


def _order(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["replicate"] or 0, row["number"]


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
    """An entry on a data set: its trials, and what they say.

    ``counted`` is how many of its units count, where more have been trained than its comparisons needed; None: all.
    """

    label: str
    name: str
    source: Source
    trials: list[Row]
    yardstick: Yardstick
    counted: int | None = None

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.trials[0]["data"])

    @property
    def method(self) -> str:
        """Slug of its method."""
        return str(self.trials[0]["method"])

    @property
    def is_baseline(self) -> bool:
        """Whether its method is the track's baseline."""
        return self.method == self.yardstick.baseline

    def stage(self, stage: Stage, status: str | None = None) -> list[Row]:
        """Its trials of a stage, by number, of one status or all; a refused draw is none, and is asked for by its status.

        After tuning, those of the chosen configurations: a sweep that has grown may have confirmed an earlier choice, too.
        """
        wanted = {status} if status else {"completed", "stopped", "failed"}
        found = self.trials if stage in ("tune", "choose") else self._counted_after_tuning()
        return sorted((row for row in found if row["stage"] == stage and row["status"] in wanted), key=_order)

    def _counted_after_tuning(self) -> Iterable[Row]:
        for number, rows in self.replicates.items():
            chosen = self.chosen.get(number)
            yield from (row for row in (confirming(rows, chosen) if chosen else rows) if self._counts(row))

    def _counts(self, row: Row) -> bool:
        return self.counted is None or self.source.design.unit(row) < self.counted

    @cached_property
    def replicates(self) -> dict[int, list[Row]]:
        """Its trials by replicate."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in self.trials:
            found[row["replicate"] or 0].append(row)
        return dict(sorted(found.items()))

    @cached_property
    def chosen(self) -> dict[int, Row]:
        """The tuning trial whose configuration is confirmed, by replicate; none of a replicate that has none."""
        found = {number: chosen_trial(rows, self.source.design.choose) for number, rows in self.replicates.items()}
        return {number: row for number, row in found.items() if row is not None}

    def scores(self, stage: Stage, metric: str) -> dict[int, float]:
        """``test/<metric>`` by seed, over the stage's completed trials on seeds that are fresh."""
        found = {row["seed"]: row["metrics"].get(f"test/{metric}", math.nan) for row in self.stage(stage, "completed")}
        return {seed: value for seed, value in sorted(found.items()) if math.isfinite(value) and seed not in self.stale}

    def unit_scores(self, stage: Stage, metric: str, seeds: Iterable[int] | None = None) -> dict[int, float]:
        """The same by unit: the mean over the seeds of a replicate, where there are several, and else by seed.

        Args:
            stage: ``confirm`` or ``ablate``.
            metric: the metric.
            seeds: those that count, by default all.
        """
        kept = None if seeds is None else set(seeds)
        values = {seed: value for seed, value in self.scores(stage, metric).items() if kept is None or seed in kept}
        if not self.source.design.by_replicate:
            return values
        return {number: fmean(of_seeds) for number, of_seeds in self.by_replicate(values, stage).items()}

    def by_replicate(self, values: Mapping[int, float], stage: Stage = "confirm") -> dict[int, list[float]]:
        """Values by seed, those of a replicate together."""
        found: dict[int, list[float]] = defaultdict(list)
        for row in self.stage(stage, "completed"):
            if row["seed"] in values:
                found[row["replicate"] or 0].append(values[row["seed"]])
        return dict(sorted(found.items()))

    @property
    def correlation(self) -> float:
        """Of its replicates, whose splits may overlap."""
        return self.source.correlation(self.name, self.data)

    @cached_property
    def stale(self) -> list[int]:
        """The seeds of its confirmation with which its sweep was tuned, as older versions let happen; they do not count."""
        return sorted({row["seed"] for row in self.stage("confirm")} & self.source.tuned_with)

    @property
    def confirmed(self) -> dict[int, float]:
        """The judged test metric of the confirmed configuration, by seed."""
        return self.scores("confirm", self.yardstick.metric)

    @property
    def best(self) -> Row | None:
        """The tuning trial whose configuration is confirmed, of the first replicate; None when there is none."""
        return next(iter(self.chosen.values()), None)

    @property
    def best_is_default(self) -> bool:
        """Whether the best tuning trial has the method's own default for each searched setting."""
        known = find_method(self.method)
        return (
            self.best is not None
            and known is not None
            and all(known.model_fields[name].default == value for name, value in self.best["searched"].items())
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


def read_sources(records: Iterable[Records]) -> list[Source]:
    """Reads sweeps; names that two of them have are made unique."""
    found: dict[str, Source] = {}
    for item in records:
        trials = item.trials().to_pylist()
        for row in trials:
            row["metrics"] = dict(row["metrics"] or [])
            row["searched"] = json.loads(row["searched"])
        suite = _suite(item)
        # Without them, their methods are known by what is recorded of them alone.
        with suppress(RegbenchError):
            activate_kept(item.storage, suite.get("plugins") or [])
        base = trials[0]["sweep"] if trials else suite.get("suite", {}).get("name", "sweep")
        name = next(name for name in [base, *(f"{base} #{n}" for n in range(2, len(found) + 3))] if name not in found)
        found[name] = Source(name, item, trials, suite)
    return list(found.values())


def _suite(records: Records) -> dict[str, Any]:
    try:
        return read_suite_file(records.storage)
    except DamagedSuiteError:
        if not records.storage.exists(FILE):
            return {}
        raise


def grouped(sources: list[Source]) -> dict[tuple[str, str], list[Candidate]]:
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
    modes: dict[str, str] = {metric.name: metric.mode for metric in metrics_of(known)} if known else {}
    modes |= {
        objective.removeprefix("val/"): mode
        for row in trials
        for objective, mode in zip(row["objectives"], row["modes"], strict=True)
    }
    tuned = dict.fromkeys(row["objectives"][0].removeprefix("val/") for row in trials)
    metric = known.primary.name if known and len(tuned) > 1 else next(iter(tuned))
    return Yardstick(metric, modes, known.baseline if known else None, known.trade_off if known else None)


def baselines_of(candidates: list[Candidate]) -> dict[str, Candidate]:
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


def on_shared_units(candidates: list[Candidate]) -> pd.DataFrame:
    """The judged test metric, seed (or replicate) by entry, over those that every confirmed entry has."""
    scores = {c.label: c.unit_scores("confirm", c.yardstick.metric) for c in candidates}
    return pd.DataFrame({label: pd.Series(values, dtype=float) for label, values in scores.items() if values}).dropna()
