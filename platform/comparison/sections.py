"""What the report shows of a track on a data set, and of a track over its data sets."""

from collections import Counter
from typing import Any

import pandas as pd

from regbench.platform.comparison import diagnosis_charts, result_charts, tables, tuning_charts
from regbench.platform.comparison.answer import answer, intervals_text, variance_text
from regbench.platform.comparison.charts import Chart
from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.gallery import Gallery
from regbench.platform.comparison.headline import headline, overview
from regbench.platform.comparison.outcomes import kind
from regbench.platform.comparison.parallel import parallel
from regbench.platform.comparison.result_charts import Looks


def section(comparison: Comparison, number: int, track: str, data: str, look: Looks, gallery: Gallery) -> dict[str, Any]:
    """All that the page shows of a track on a data set, its section of this number."""
    rows = answer(comparison, track, data)
    place = (comparison, track, data)
    importance = comparison.of("importance", track, data)
    return {
        "place": number,
        "track": track,
        "data": data,
        "metric": rows[0]["metric"],
        "mode": rows[0]["mode"],
        "tuned_metric": rows[0]["tuned_metric"],
        "headline": headline(*place),
        "confirmed": [row for row in rows if row["confirmed"]],
        "unconfirmed": [row for row in rows if not row["confirmed"]],
        "entries": rows,
        "intervals": intervals_text(rows[0]),
        "variance": rows_of(comparison.of("variance", track, data)),
        "variance_text": variance_text(*place),
        "metrics": _metrics(comparison.of("metrics", track, data), [row["entry"] for row in rows]),
        "learned": [row for row in rows if row["learned"]],
        "missing_importance": _missing(importance),
        "failures": rows_of(comparison.of("failures", track, data)),
        "notes": tables.notes(*place),
        "charts": {
            name: gallery.show(draw, *place, look, main=name == "forest")
            for name, draw in {
                "forest": result_charts.forest,
                "curves": result_charts.curves,
                "sensitivity": tuning_charts.sensitivity,
                "trade_offs": result_charts.trade_offs,
                "importance": tuning_charts.importance,
                "calibration": diagnosis_charts.calibration,
                "spectra": diagnosis_charts.spectra,
                "learning": tuning_charts.learning,
            }.items()
        },
        "trials": [
            (row["entry"], shown) for row in rows if (shown := gallery.show(_trials, *place, row["entry"], look[row["entry"]]))
        ],
    }


def _trials(*arguments: Any) -> list[Chart]:
    chart = parallel(*arguments)
    return [chart] if chart else []


def _missing(importance: pd.DataFrame) -> str:
    """Why importance is missing, each reason once, with the entries that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows_of(importance[importance["missing"] != ""]):
        about.setdefault(row["missing"], []).append(row["entry"])
    return "; ".join(f"{', '.join(entries)}: {reason}" for reason, entries in about.items())


def _metrics(metrics: pd.DataFrame, order: list[str]) -> dict[str, Any]:
    """All test metrics of the confirmed configurations: column heads, and for each entry its estimates by metric."""
    confirmed = metrics[metrics["stage"] == "confirm"]
    heads = dict(zip(confirmed["metric"], confirmed["mode"], strict=True))
    estimates = {(row["entry"], row["metric"]): row for row in rows_of(confirmed)}
    present = set(confirmed["entry"])
    rows = [(entry, [estimates.get((entry, metric)) for metric in heads]) for entry in order if entry in present]
    return {"heads": list(heads.items()), "rows": rows}


Cells = tuple[str, list[Row | None]]


def matrices(comparison: Comparison) -> list[dict[str, Any]]:
    """For each track with several data sets: its data sets with the numbers of their sections, and each entry's row on them."""
    found = []
    for track in dict.fromkeys(track for track, _ in comparison.tables()):
        places = [(data, number) for number, (name, data) in enumerate(comparison.tables(), 1) if name == track]
        if len(places) < 2:
            continue
        rows = {(row["entry"], row["data"]): row for row in rows_of(comparison.entries) if row["track"] == track}
        cells = [
            (entry, [rows.get((entry, data)) for data, _ in places]) for entry in dict.fromkeys(entry for entry, _ in rows)
        ]
        ordered = sorted(cells, key=_standing)
        found.append({"track": track, "overview": overview(comparison, track), "places": places, "rows": ordered})
    return found


def _standing(cells: Cells) -> tuple[bool, int, int, str]:
    """Orders a matrix: what is better on more data sets, and worse on fewer, comes first; what was not compared, last."""
    entry, rows = cells
    counts = Counter(kind(row["difference_verdict"]) for row in rows if row)
    return not counts.keys() - {"none"}, -counts["good"], counts["bad"], entry


def over_data_sets(comparison: Comparison, track: str, look: Looks, gallery: Gallery) -> dict[str, Any]:
    """Average ranks over the data sets of a track."""
    row = comparison.friedman[comparison.friedman["track"] == track].iloc[0]
    return {
        "track": track,
        "data_sets": row["data_sets"],
        "test": tables.friedman_text(row),
        "ranks": rows_of(comparison.ranks[comparison.ranks["track"] == track]),
        "chart": gallery.show(result_charts.ranks, comparison, track, look),
    }
