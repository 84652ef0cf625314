"""Charts of how entries were tuned: what each weight does, how much each setting matters, how weights were learned.

Every function returns its charts, or none where there is nothing to draw.
"""

import math

import pandas as pd

from regbench.platform.comparison.charts import (
    INK,
    VISIBLE,
    Chart,
    Spec,
    across,
    colour,
    fade,
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
from regbench.platform.comparison.looks import Look, Looks
from regbench.platform.comparison.text import number

# A setting is named in its bar where it has more than this share.
NAMED = 0.2


def sensitivity(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """The first objective of each entry's tuning trials over each of its weights, a panel a weight.

    Fully trained trials are filled, stopped ones hollow: their value is that of an unfinished training. A line across marks the
    best value of the baseline's trials, ticks along the axis the tuned value, once a replicate.
    """
    found = comparison.of("sensitivity", track, data)
    found = found[found["weight"] & found["objective"].map(math.isfinite)]
    entries = comparison.of("entries", track, data).set_index("entry")
    tuned = comparison.of("weights", track, data)
    charts = []
    for (entry, setting), rows in found.groupby(["entry", "setting"], sort=False):
        own = tuned[(tuned["entry"] == entry) & (tuned["setting"] == setting)]
        baseline = entries["tuned_value"].get(entries["compared_with"].get(entry, ""), math.nan)
        spec = _sensitivity(str(entry), rows, own, baseline, look[str(entry)])
        label = f"{rows.iloc[0]['objective_name']} of the tuning trials of {entry} over {setting} on {data}"
        charts.append(Chart(label, "small", spec, str(entry)))
    return charts


def _sensitivity(entry: str, rows: pd.DataFrame, tuned: pd.DataFrame, baseline: float, item: Look) -> Spec:
    is_numeric = bool(rows["number"].notna().all())
    objective = rows.iloc[0]["objective_name"]
    symbol = rows.iloc[0]["symbol"] or rows.iloc[0]["setting"]
    values = [
        {
            "entry": entry,
            "x": numeric(row["number"]) if is_numeric else row["value"],
            "y": numeric(row["objective"]),
            "stopped": row["status"] == "stopped",
            "shown_x": number(row["number"]) if is_numeric else row["value"],
            "shown_y": number(row["objective"])
            + (f", stopped after {row['rounds']} rounds" if row["status"] == "stopped" else ""),
        }
        for row in rows_of(rows)
    ]
    if is_numeric:
        low, high = rows["number"].min(), rows["number"].max()
        x = logarithmic("x", symbol, low, high) if rows["log"].all() and low > 0 else measure("x", symbol, ticks=4)
    else:
        x = {"field": "x", "type": "nominal", "title": symbol, "axis": {"labelAngle": 0}}
    place = {
        "x": x,
        "y": measure("y", objective, ticks=4),
        "opacity": fade(0.85),
        "tooltip": tooltip(entry="entry", shown_x=rows.iloc[0]["setting"], shown_y=objective),
    }
    point = {"type": "point", "color": item.colour, "shape": item.mark, "size": 42}
    layers: list[Spec] = [
        {"transform": [{"filter": "datum.stopped"}], "mark": point | {"filled": False}, "encoding": place},
        {"transform": [{"filter": "!datum.stopped"}], "mark": point | {"filled": True}, "encoding": place},
    ]
    if math.isfinite(baseline):
        layers.insert(0, across("y", baseline))
    field = "number" if is_numeric else "value"
    chosen = [{"x": numeric(row["number"]) if is_numeric else row["value"]} for row in rows_of(tuned.dropna(subset=[field]))]
    if chosen:
        tick = {
            "type": "tick",
            "orient": "vertical",
            "color": INK,
            "thickness": 2 if len(chosen) == 1 else 1.2,
            "size": 14,
            "opacity": 0.8,
        }
        foot = {"x": x, "y": {"value": "height"}}
        layers.append({"data": {"values": chosen}, "mark": tick | {"yOffset": -7}, "encoding": foot})
    return {"title": _short(entry), "height": 130, "data": {"values": values}, "layer": layers}


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def importance(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """The share of the tuned metric's variance that each searched setting explains: a bar an entry, its weights first."""
    found = comparison.of("importance", track, data).query("missing == ''")
    if found.empty:
        return []
    known = comparison.of("sensitivity", track, data)
    weights = {(row["entry"], row["setting"]) for row in rows_of(known[known["weight"]])}
    rows: list[Row] = []
    for entry, own in found.groupby("entry", sort=False):
        end = 0.0
        for row in sorted(rows_of(own), key=lambda row: ((entry, row["setting"]) not in weights, -row["importance"])):
            begin, end = end, end + row["importance"]
            kind = "a weight" if (entry, row["setting"]) in weights else "another setting"
            rows.append(
                {"entry": entry, "setting": row["setting"], "kind": kind, "begin": numeric(begin), "end": numeric(end)}
                | {"name": row["setting"] if row["importance"] > NAMED else "", "middle": numeric((begin + end) / 2)}
                | {"shown": f"{row['importance']:.1%} over {row['trials']} trials"}
            )
    title = "share of the variance of the tuned metric"
    y = rows_of_entries(dict.fromkeys(row["entry"] for row in rows), "entry")
    x = measure("begin", title, axis={"format": ".0%"}, domain=[0, 1])
    solid = {"condition": {"test": "datum.kind === 'a weight'", "value": 0.85}, "value": 0.3}
    bars: Spec = {
        "x": x,
        "x2": {"field": "end"},
        "y": y,
        "color": colour(only(look, rows)),
        "fillOpacity": solid,
        "opacity": fade(),
    }
    bars["tooltip"] = tooltip(entry="entry", setting="setting", kind="kind", shown="share")
    text = {
        "x": measure("middle", title, axis={"format": ".0%"}, domain=[0, 1]),
        "y": y,
        "text": {"field": "name"},
        "opacity": fade(),
    }
    spec: Spec = {
        "data": {"values": rows},
        "transform": [VISIBLE],
        "layer": [
            {"mark": {"type": "bar", "stroke": INK, "strokeOpacity": 0.35, "strokeWidth": 0.7}, "encoding": bars},
            {"mark": {"type": "text", "fontSize": 10.5, "limit": 150}, "encoding": text},
        ],
    }
    spec |= in_rows(26, dict.fromkeys(row["entry"] for row in rows))
    return [Chart(f"Importance of the searched settings on {data}", "wide", spec)]


# What learning weights costs, by its column: all of it, and its parts.
SPENT = {
    "cost": "passes over the data",
    "lower_iterations": "lower iterations",
    "linear_iterations": "Hessian products",
    "seconds": "seconds",
}


def learning(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """How weights were learned: upper loss over each kind of cost, then hypergradient norm and each weight over all of it.

    Marks are the iterations whose weights were learned in the end.
    """
    found = comparison.of("learning", track, data)
    found = found[found["cost"] > 0]
    names = [name for name in dict.fromkeys(found["quantity"]) if not name.startswith("learned/")]
    names.sort(key=lambda name: (not name.startswith("upper_loss"), not name.startswith("hypergradient"), name))
    pairs = [(name, "cost") for name in names]
    pairs[1:1] = [("upper_loss", spent) for spent in tuple(SPENT)[1:]] if "upper_loss" in names else []
    charts = []
    for quantity, spent in pairs:
        rows = _learned(found, quantity, spent)
        title = quantity.removeprefix("weight/").replace("_", " ")
        spec = _learning(title, rows, spent, only(look, rows))
        sizes = [row["value"] for row in rows if row["value"] is not None]
        if quantity == "hypergradient_norm" and sizes and 0 < 20 * min(sizes) < max(sizes):
            for layer in spec["layer"]:
                layer["encoding"]["y"] = logarithmic("value", None, min(sizes), max(sizes))
        charts.append(Chart(f"{title} over {SPENT[spent]} on {data}", "small", spec))
    return charts


def _learned(found: pd.DataFrame, quantity: str, spent: str) -> list[Row]:
    """The values of a quantity over what had been spent, and whether the weights tried then are those learned in the end."""
    rows: list[Row] = []
    for entry, own in found.groupby("entry", sort=True):
        losses = own[own["quantity"] == "upper_loss"].sort_values("value")
        end = losses["cost"].iloc[0] if len(losses) else None
        for row in rows_of(own[own["quantity"] == quantity].drop_duplicates("cost")):
            values = {"spent": numeric(row[spent]), "value": numeric(row["value"]), "shown": number(row["value"])}
            rows.append({"entry": entry, "end": bool(row["cost"] == end)} | values)
    return rows


def _learning(title: str, rows: list[Row], spent: str, look: Looks) -> Spec:
    x = measure("spent", SPENT[spent], ticks=4, zero=True)
    told = tooltip(entry="entry", shown=title)
    base = {"x": x, "y": measure("value"), "color": colour(look), "opacity": fade(0.85), "tooltip": told}
    return {
        "title": title,
        "height": 150,
        "data": {"values": rows},
        "transform": [VISIBLE],
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 1.4}, "encoding": base},
            {
                "transform": [{"filter": "datum.end"}],
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": base | {"shape": shape(look)},
            },
        ],
    }
