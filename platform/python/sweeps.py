"""Sweeps in Python: run one, load one, read what it found, take its best trained networks."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from regbench.methods.errors import ConfigError, nearest
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform import sweep as engine
from regbench.platform.cli.options import DEFAULT_STORAGE, terminal
from regbench.platform.comparison.answer import answer
from regbench.platform.comparison.compare import compare as compare_records
from regbench.platform.comparison.frames import Comparison
from regbench.platform.comparison.headline import headline
from regbench.platform.comparison.report import render
from regbench.platform.execution.trial import load_checkpoint
from regbench.platform.python.drawn import Plots, place
from regbench.platform.python.trained import Trained
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep, sweep_names
from regbench.platform.suite.recorded import recorded_plan
from regbench.platform.suite.spec import parse_suite, prepared, read_suite

# The columns of ``entries``, from those of a comparison's table.
COLUMNS = {
    "track": "track",
    "data": "data",
    "entry": "entry",
    "weights": "weights",
    "mean": "mean",
    "low": "low",
    "high": "high",
    "difference_value": "difference",
    "difference_low": "difference_low",
    "difference_high": "difference_high",
    "difference_verdict": "verdict",
    "ablation_value": "effect_of_weights",
    "ablation_verdict": "verdict_of_weights",
    "cost": "cost",
    "units": "units",
}


class Results:
    """What was found: a table, sentences, charts.

    Args:
        comparison: of the entries of one or more sweeps.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def entries(self) -> pd.DataFrame:
        """One row an entry and data set, as the terminal shows it: tuned weights, mean, difference to the baseline, verdict."""
        rows = [row for track, data in self.comparison.tables() for row in answer(self.comparison, track, data)]
        frame = pd.DataFrame([row | {"weights": ", ".join(row["weights"])} for row in rows], columns=list(COLUMNS))
        return frame.rename(columns=COLUMNS)

    @property
    def headlines(self) -> list[str]:
        """The answer of each data set in a sentence or two."""
        return [headline(self.comparison, track, data) for track, data in self.comparison.tables()]

    @property
    def plot(self) -> Plots:
        """Charts: ``forest()``, ``curves()``, ``sensitivity()``."""
        return Plots(self.comparison)

    def report(self, file: str | Path) -> None:
        """Writes the report as one HTML page."""
        Path(file).write_text(render(self.comparison), encoding="utf-8")

    def __repr__(self) -> str:
        return "\n".join(self.headlines) or "nothing has been trained yet"

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(line)}</p>" for line in self.headlines)
        return said + self.entries.to_html(index=False, float_format="{:.4g}".format)


class Sweep(Results):
    """A sweep that has been run, or begun.

    Args:
        records: of the sweep.

    Attributes:
        name: of the sweep.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.name = records.storage.name
        super().__init__(compare_records(records))

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial: settings, status, metrics of the round that counts as ``val/…`` and ``test/…``."""
        frame = self.records.trials().to_pandas()
        metrics = pd.DataFrame([dict(row) for row in frame.pop("metrics")], index=frame.index)
        return frame.join(metrics)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row a trial and round, with its metrics."""
        frame = self.records.curves().to_pandas()
        index = ["sweep", "key", "round", "time", "seconds"]
        wide = frame.pivot(index=index, columns="metric", values="value")
        return wide.reset_index().rename_axis(columns=None)

    def best(self, entry: str, data: str | None = None) -> Trained:
        """The tuned configuration of an entry, with the network that tuning trained by it (of the first replicate).

        Args:
            entry: its name in the suite.
            data: the data set; may be left out where there is one.

        Raises:
            ConfigError: there is no such entry, or none of its trials is tuned yet.
            CheckpointError: its checkpoint cannot be read.
        """
        track, name = place(self.comparison, data)
        rows = [row for row in self.records.trials().to_pylist() if row["data"] == name and row["track"] == track]
        if entry not in (names := {row["entry"] for row in rows}):
            raise ConfigError(f"no entry '{entry}' on {name}; {nearest(entry, names)}")
        for row in rows:
            # Of an ended study, the best tuning trial alone keeps its checkpoint.
            if (row["entry"], row["stage"]) == (entry, "tune") and self.records.storage.exists(f"checkpoints/{row['key']}.pt"):
                return self._trained(row["key"])
        raise ConfigError(f"{entry} is not tuned yet on {name}: finish the sweep first")

    def _trained(self, key: str) -> Trained:
        state, trial = load_checkpoint(self.records.storage, key), self.records.specification(key)
        assert state is not None
        assert trial is not None
        method = create(trial.method, trial.settings)
        run = Run(trial.data, seed=trial.seed, split=trial.split, checkpoint=state["run"])
        # It trains no more: a run that resumes after its last round is what that round left.
        list(method.train(run))
        curve = self.curves[self.curves["key"] == key].set_index("round")
        return Trained(method, run, curve.filter(regex="^(train|val|test)/").dropna(axis=1, how="all"))


def sweep(
    suite: Mapping[str, Any] | str | Path,
    *,
    storage: str | Path = DEFAULT_STORAGE,
    tracking: str | None = None,
    address: str | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
) -> Sweep:
    """Runs a suite, or goes on with it where it has begun; returns at once where it is complete.

    Args:
        suite: its keys, the name of a ready-made one, or a file.
        storage: where results go.
        tracking: MLflow's URI; None for a SQLite file in ``storage``; ``none`` for no MLflow.
        address: of a running Ray cluster; by default a private one on this machine.
        cpus: logical CPUs of the private cluster.
        gpus: logical GPUs of the private cluster.

    Raises:
        RegbenchError: the suite is wrong, differs from the one that this sweep was started with, or results cannot be written.
    """
    spec = prepared(parse_suite(suite), Path()) if isinstance(suite, Mapping) else read_suite(suite)
    store, console = Storage(storage), terminal()
    cluster: dict[str, Any] = {"address": address, "cpus": cpus, "gpus": gpus}
    if spec.name in sweep_names(store):
        outcome = engine.resume(spec.name, store, tracking, console, spec, **cluster)
    else:
        outcome = engine.start(spec, store, tracking, console, **cluster)
    if not outcome.complete:
        console.print("Stopped. Nothing is lost: the same call goes on.")
    for key, reason in outcome.failed.items():
        console.print(f"failed {key}: {reason}", soft_wrap=True)
    return Sweep(open_sweep(spec.name, store))


def load(name: str, storage: str | Path = DEFAULT_STORAGE) -> Sweep:
    """A sweep from its records, with the plugins and data sets that it was run with.

    Raises:
        ConfigError: there is no such sweep.
        StorageError: its records cannot be read.
    """
    records = open_sweep(name, Storage(storage))
    found = Sweep(records)
    # Makes its data sets known.
    recorded_plan(records)
    return found


def compare(sweeps: Sequence[Sweep | str], storage: str | Path = DEFAULT_STORAGE) -> Results:
    """Entries of several sweeps side by side.

    Args:
        sweeps: loaded, or their names.
        storage: where named ones are.

    Raises:
        ConfigError: there is no such sweep.
    """
    store = Storage(storage)
    return Results(compare_records([item.records if isinstance(item, Sweep) else open_sweep(item, store) for item in sweeps]))
