"""Charts of what was found: differences, curves, trade-offs, ranks.

Every function returns its charts, or none where there is nothing to draw.
"""

import math

import numpy as np
import pandas as pd

from regbench.platform.comparison.charts import (
    INK,
    VISIBLE,
    Chart,
    Spec,
    across,
    banded,
    colour,
    fade,
    good_side,
    in_rows,
    logarithmic,
    measure,
    numeric,
    only,
    rows_of_entries,
    shape,
    tooltip,
)
from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.looks import Looks
from regbench.platform.comparison.outcomes import symbol
from regbench.platform.comparison.statistics import estimate
from regbench.platform.comparison.text import difference_text, mean_text, number

# From so large a ratio of its values on, an axis of a trade-off is logarithmic: one diverged trial would hide all others.
WIDE = 100
# A curve of more points is thinned: nobody sees more.
POINTS = 60
MARKED = 7
# Of more curves than this, only the highlighted one has a band.
BANDS = 8


def forest(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Differences to the baseline with their simultaneous intervals, and those of single seeds or replicates as faint dots."""
    entries = rows_of(comparison.of("entries", track, data).query("difference_pairs > 0"))
    if not entries:
        return []
    labels = {row["entry"]: f"{symbol(row['difference_verdict'])} {row['entry']}" for row in entries}
    rows = [
        {
            "entry": row["entry"],
            "label": labels[row["entry"]],
            **{name: numeric(row[f"difference_{name}"]) for name in ("value", "low", "high")},
            "shown": difference_text(row["difference_value"], row["difference_low"], row["difference_high"]),
            "verdict": row["difference_verdict"],
        }
        for row in entries
    ]
    units = comparison.of("differences", track, data).query("against == 'baseline'")
    dots = [
        {"entry": row["entry"], "label": labels[row["entry"]], "value": numeric(row["value"]), "shown": f"{row['value']:+.4g}"}
        for row in rows_of(units)
        if row["entry"] in labels and math.isfinite(row["value"])
    ]
    first = entries[0]
    place = {"y": rows_of_entries(labels.values()), "color": colour(look := only(look, entries))}
    told = tooltip(entry="entry", shown="difference", verdict="verdict")
    title = [f"difference in test {first['metric']}", f"to {first['compared_with']} ({good_side(first['mode'])})"]
    x = measure("value", title)
    interval = place | {"x": measure("low", title), "x2": {"field": "high"}, "opacity": fade(), "tooltip": told}
    layers: list[Spec] = [
        across("x", 0),
        {
            "data": {"values": dots},
            "transform": [VISIBLE],
            "mark": {"type": "circle", "size": 22, "yOffset": 8},
            "encoding": place
            | {"x": x, "opacity": fade(0.45), "tooltip": tooltip(entry="entry", shown=f"at one {first['unit']}")},
        },
        {"transform": [{"filter": "isValid(datum.low)"}], "mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": interval},
        {
            "mark": {"type": "point", "filled": True, "size": 75, "opacity": 1},
            "encoding": place | {"x": x, "shape": shape(look), "opacity": fade(), "tooltip": told},
        },
    ]
    if first["relevant"] > 0:
        band = {"low": -first["relevant"], "high": first["relevant"]}
        encoding = {"x": measure("low", title), "x2": {"field": "high"}}
        layers.insert(
            0, {"data": {"values": [band]}, "mark": {"type": "rect", "color": INK, "opacity": 0.09}, "encoding": encoding}
        )
    spec = {"data": {"values": rows}, "transform": [VISIBLE], "layer": layers} | in_rows(30, labels)
    return [Chart(f"Differences to the baseline and their intervals on {data}", "wide", spec)]


def curves(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Validation curves of the confirmed configurations, with their interval: all rounds, and the second half."""
    found = comparison.of("curves", track, data)
    last = 0 if found.empty else int(found["round"].max())
    if last < 2:
        return []
    rows: list[Row] = []
    for entry, own in found.groupby("entry", sort=True):
        rounds = sorted(set(own["round"]))
        kept = own[own["round"].isin(_thinned(rounds, POINTS))]
        marked = _thinned(rounds, MARKED)
        for at, values in kept.groupby("round")["value"]:
            mean = estimate(list(values))
            shown = mean_text(mean.mean, mean.low, mean.high)
            limits = {"low": numeric(mean.low), "high": numeric(mean.high)}
            point = {"entry": entry, "round": at, "marked": at in marked, "value": numeric(mean.mean), "shown": shown}
            rows.append(point | limits)
    metric = found.iloc[0]["metric"]
    halves = [("all rounds", 0.0), ("second half", last / 2)]
    return [
        Chart(
            f"Validation curves on {data}, {title}",
            "half",
            _curves(title, [row for row in rows if row["round"] >= begin], metric, look),
        )
        for title, begin in halves
    ]


def _thinned(rounds: list[int], count: int) -> set[int]:
    """At most so many of the rounds, evenly, the first and the last among them."""
    return {rounds[int(place)] for place in np.linspace(0, len(rounds) - 1, min(count, len(rounds)))}


def _curves(title: str, rows: list[Row], metric: str, look: Looks) -> Spec:
    look = only(look, rows)
    span = max(row["round"] for row in rows) - min(row["round"] for row in rows)
    x = measure("round", "round", ticks=min(6, span), axis={"format": "d"}, nice=False)
    base = {"x": x, "color": colour(look), "tooltip": tooltip(entry="entry", round="round", shown=metric)}
    y = measure("value", metric)
    alone = {"condition": {"test": "datum.entry === chosen", "value": 0.2}, "value": 0}
    band = fade(0.14) if len(look) <= BANDS else alone
    return {
        "title": title,
        "height": 240,
        "data": {"values": rows},
        "transform": [VISIBLE],
        "layer": [
            *banded(base, metric, band),
            {
                "transform": [{"filter": "datum.marked"}],
                "mark": {"type": "point", "filled": True, "size": 26},
                "encoding": base | {"y": y, "shape": shape(look), "opacity": fade()},
            },
        ],
    }


def trade_offs(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Two metrics of the fully trained tuning trials; a line joins those that none dominates."""
    found = comparison.of("trade_offs", track, data)
    if found.empty:
        return []
    first, second = found.iloc[0]["first"], found.iloc[0]["second"]
    rows = [
        {
            "entry": row["entry"],
            "first": numeric(row["first_value"]),
            "second": numeric(row["second_value"]),
            "front": bool(row["front"]),
            "shown_first": number(row["first_value"]),
            "shown_second": number(row["second_value"]),
        }
        for row in rows_of(found)
    ]
    x = _traded("first", f"{first} of the tuning trials", found["first_value"])
    y = _traded("second", second, found["second_value"])
    told = tooltip(entry="entry", shown_first=first, shown_second=second)
    look = only(look, rows)
    points = {"x": x, "y": y, "color": colour(look), "shape": shape(look), "opacity": fade(0.75), "tooltip": told}
    spec = {
        "data": {"values": rows},
        "transform": [VISIBLE],
        "height": 280,
        "layer": [
            {
                "transform": [{"filter": "datum.front"}],
                "mark": {"type": "line", "color": INK, "strokeWidth": 1, "opacity": 0.6},
                "encoding": {"x": x, "y": y, "order": {"field": "first"}},
            },
            {"mark": {"type": "point", "filled": True, "size": 50}, "encoding": points},
        ],
    }
    return [Chart(f"Trade-off between {first} and {second} on {data}", "half", spec)]


def _traded(field: str, title: str, values: pd.Series) -> Spec:
    if values.max() > WIDE * values.min() > 0:
        return logarithmic(field, title, values.min(), values.max())
    return measure(field, title)


def ranks(comparison: Comparison, track: str, look: Looks) -> list[Chart]:
    """Average ranks over data sets, and bars that join what Nemenyi's test does not tell apart (Demšar, 2006, figure 1)."""
    found = comparison.ranks[comparison.ranks["track"] == track].sort_values("rank")
    if found.empty:
        return []
    width = float(comparison.friedman["critical_difference"][comparison.friedman["track"] == track].iloc[0])
    rows = [{"entry": row["entry"], "rank": numeric(row["rank"]), "shown": f"{row['rank']:.2f}"} for row in rows_of(found)]
    values, names = found["rank"].to_numpy(), list(found["entry"])
    reach = [int(np.searchsorted(values, value + width, side="right")) - 1 for value in values]
    bars = [
        {"entry": names[start], "to": names[end], "at": numeric(values[end] + 0.1 + 0.08 * start)}
        for start, end in enumerate(reach)
        if end > start and (start == 0 or end > reach[start - 1])
    ]
    title = f"average rank (1 is best); bars join ranks closer than {width:.2f}"
    place = {"y": rows_of_entries(names, "entry"), "x": measure("rank", title)}
    look = only(look, rows)
    points = place | {
        "color": colour(look),
        "shape": shape(look),
        "opacity": fade(),
        "tooltip": tooltip(entry="entry", shown="rank"),
    }
    layers: list[Spec] = [{"transform": [VISIBLE], "mark": {"type": "point", "filled": True, "size": 75}, "encoding": points}]
    if bars:
        ends = {"y": rows_of_entries(names, "entry"), "y2": {"field": "to"}, "x": measure("at", title)}
        layers.append({"data": {"values": bars}, "mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.5}, "encoding": ends})
    spec = {"data": {"values": rows}, "layer": layers} | in_rows(28, names)
    return [Chart("Average ranks over data sets with critical difference", "wide", spec)]
