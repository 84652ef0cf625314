"""The tables of a comparison: their columns and types, and the comparison that holds them."""

import io
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from regbench.platform.records.storage import Storage

Row = dict[str, Any]

Rows = dict[str, list[Row]]


def _columns(**kinds: str) -> dict[str, str]:
    """Names to type, from types to names: ``_columns(str="track data")``."""
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_PLACE = _columns(str="track data entry")

_ESTIMATE = _columns(int64="n", float64="mean std low high")

PAIRED = _columns(int64="pairs", float64="value low high p p_holm", str="verdict")

_STATUSES = _columns(int64="completed stopped failed")

FRAMES: dict[str, dict[str, str]] = {
    "entries": _PLACE
    | _columns(str="sweep method arxiv compared_with metric mode unit design", bool="baseline confirmed", int64="units seeds")
    | _ESTIMATE
    | _columns(float64="rank relevant cost")
    | {f"difference_{name}": kind for name, kind in PAIRED.items()}
    | {f"ablation_{name}": kind for name, kind in PAIRED.items()}
    | _columns(str="tuned_metric configuration learned", float64="tuned_value tuning_seconds training_seconds", int64="choices")
    | _STATUSES,
    "metrics": _PLACE | _columns(str="stage metric mode") | _ESTIMATE,
    "seeds": _PLACE | _columns(str="stage metric", int64="seed", float64="value"),
    "differences": _PLACE | _columns(str="against", int64="seed", float64="value"),
    "weights": _PLACE | _columns(str="setting symbol value", int64="replicate", float64="number"),
    "variance": _columns(str="track data component", float64="variance share"),
    "curves": _PLACE | _columns(str="metric", int64="seed round", float64="value"),
    "spectra": _PLACE | _columns(str="stage eigenvalue", int64="seed", float64="real imag"),
    "sensitivity": _PLACE
    | _columns(
        str="trial setting symbol value objective_name status", bool="weight log", float64="number objective", int64="rounds"
    ),
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


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a table as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


@dataclass(frozen=True)
class Comparison:
    """The result of ``compare``: one table an attribute, columns and types as in ``FRAMES``.

    Attributes:
        entries: one row per (track, data, entry): the estimate of the track's judged test metric, differences with their
            simultaneous intervals, verdicts, tuned configuration, effort; ``unit`` is what tests count, ``cost`` the time of a
            training relative to the baseline's, ``choices`` how many trainings decided between the best tuning trials.
            Confirmed entries come first, the best of them at the top.
        metrics: every test metric of the confirmed configurations and of their ablations.
        seeds: the same, seed by seed.
        differences: differences of the judged test metric seed by seed (with replicates, in column ``seed`` too, replicate by
            replicate), against the baseline or the entry's own ablation.
        weights: the regularization weights of the chosen configurations, by replicate.
        variance: how much of the judged metric's variance comes from tuning, split and seed, where there are replicates.
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
    weights: pd.DataFrame
    variance: pd.DataFrame
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
