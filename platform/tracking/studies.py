"""The studies of a sweep as runs that are compared: one for each entry on each data set, from the comparison's tables alone."""

import hashlib
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import median
from typing import Any

import pandas as pd

from regbench.platform.comparison.frames import FRAMES, Row, rows_of
from regbench.platform.comparison.looks import looks
from regbench.platform.comparison.text import NONE, difference_text, mean_text, weights_text
from regbench.platform.records.storage import Storage

STAGE = "study"
# Of a run in all charts of the UI.
COLOUR = "mlflow.runColor"
DIGEST = "regbench.digest"
Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class StudyRun:
    """What MLflow is told about a study.

    Attributes:
        key: of its run within the sweep.
        name: of its run: the entry with its tuned weights.
        track: of the study.
        data: of the study.
        entry: of the study.
        baseline: whether it is the baseline of its table.
        judged: name of the metric by which the studies of its table are compared, among ``metrics``.
        mode: whether that is to be "max" or "min".
        weights: names of its tuned weights.
        params: the tuned weights, their medians over replicates; with one replicate also the other tuned settings.
        metrics: means over the confirmed seeds, interval ends, difference, p, seeds, cost.
        tags: verdicts, and the figures as text: the UI rounds numbers to two decimals.
    """

    key: str
    name: str
    track: str
    data: str
    entry: str
    baseline: bool
    judged: str
    mode: str
    weights: tuple[str, ...]
    params: dict[str, Any]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def digest(self) -> str:
        """Tells whether MLflow has this: its parameters cannot be changed, nor points taken back."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def read_tables(storage: Storage) -> Tables | None:
    """The tables of a sweep's report of which its studies' runs are made; None where this version's are not there.

    Args:
        storage: the sweep's folder.
    """
    tables: Tables = {}
    for name in ("entries", "metrics", "weights", "sweeps"):
        path = f"report/{name}.parquet"
        if not storage.exists(path):
            return None
        tables[name] = pd.read_parquet(io.BytesIO(storage.read(path)))
        if not FRAMES[name].keys() <= set(tables[name]):
            return None
    return tables


def compared_at(tables: Tables) -> datetime:
    """When the sweep's last trial had ended."""
    return tables["sweeps"]["ended"].max().to_pydatetime()


def study_runs(tables: Tables, track: str) -> dict[str, list[StudyRun]]:
    """The runs of a track's studies by data set, the best entry first."""
    entries = tables["entries"][tables["entries"]["track"] == track]
    several = entries["data"].nunique() > 1
    colours = _colours(tables["entries"]["entry"])
    found: dict[str, list[StudyRun]] = {}
    for row in rows_of(entries):
        weights = _rows(tables["weights"], row)
        metrics = _metrics(row, _rows(tables["metrics"], row))
        confirmed = entries["confirmed"][entries["data"] == row["data"]].any()
        run = StudyRun(
            key=f"{row['entry']}-{row['data']}",
            name=_name(row, weights, several),
            track=track,
            data=row["data"],
            entry=row["entry"],
            baseline=bool(row["baseline"]),
            judged=f"test/{row['metric']}" if confirmed else f"best/{row['tuned_metric']}",
            mode=row["mode"],
            weights=tuple(dict.fromkeys(weight["setting"] for weight in weights)),
            params=_params(row, weights),
            metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
            tags=_tags(row, weights) | {COLOUR: colours[row["entry"]]},
        )
        found.setdefault(run.data, []).append(run)
    return found


def _colours(entries: Iterable[str]) -> dict[str, str]:
    """The colour of every entry, as in reports. MLflow has no marks: those that share one have it in shades of it."""
    found: dict[str, str] = {}
    shared: dict[str, int] = defaultdict(int)
    for entry, (colour, _) in sorted(looks(entries).items()):
        found[entry] = _shade(colour, shared[colour])
        shared[colour] += 1
    return found


def _shade(colour: str, number: int) -> str:
    """A colour itself, then mixed half with white, half with black, three quarters with white, …"""
    other, share = (255 if number % 2 else 0), 1 - 0.5 ** ((number + 1) // 2)
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (other - part)):02X}" for part in parts)


def _rows(frame: pd.DataFrame, row: Row) -> list[Row]:
    same = (frame["track"] == row["track"]) & (frame["data"] == row["data"]) & (frame["entry"] == row["entry"])
    return rows_of(frame[same])


def _name(row: Row, weights: list[Row], several: bool) -> str:
    tuned = f" {weights_text(weights)}" if weights else ""
    return row["entry"] + tuned + (" (baseline)" if row["baseline"] else "") + (f" on {row['data']}" if several else "")


def _params(row: Row, weights: list[Row]) -> dict[str, Any]:
    values: dict[str, list[Row]] = {}
    for weight in weights:
        values.setdefault(weight["setting"], []).append(weight)
    chosen = {name: _middle(found) for name, found in values.items()}
    return chosen if any(len(found) > 1 for found in values.values()) else chosen | json.loads(row["configuration"])


def _middle(rows: list[Row]) -> Any:
    """The median of a weight's values over replicates, or all of them where they are no numbers."""
    numbers = [row["number"] for row in rows]
    return ", ".join(row["value"] for row in rows) if any(map(math.isnan, numbers)) else median(numbers)


def _metrics(row: Row, means: list[Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    for mean in (mean for mean in means if mean["stage"] == "confirm"):
        name = f"test/{mean['metric']}"
        found |= {name: mean["mean"], f"{name}_low": mean["low"], f"{name}_high": mean["high"]}
    for name in ("difference", "ablation"):
        found |= {name: row[f"{name}_value"], f"{name}_low": row[f"{name}_low"], f"{name}_high": row[f"{name}_high"]}
    found |= {"p": row["difference_p_holm"], "seeds": row["seeds"], "units": row["units"], "cost": row["cost"]}
    return found | {f"best/{row['tuned_metric']}": row["tuned_value"]}


def _tags(row: Row, weights: list[Row]) -> dict[str, str]:
    """Those that are worth a line in a table of runs; the figures of the judged metric as text."""
    tags = {
        "stage": STAGE,
        "entry": row["entry"],
        "method": row["method"],
        "arxiv": row["arxiv"],
        "data": row["data"],
        "baseline": row["compared_with"],
        "weights": weights_text(weights),
        "verdict": row["difference_verdict"],
        "weights_verdict": row["ablation_verdict"],
        "mean": mean_text(row["mean"], row["low"], row["high"]),
        "difference": difference_text(row["difference_value"], row["difference_low"], row["difference_high"]),
    }
    return {name: value for name, value in tags.items() if value and value != NONE}
