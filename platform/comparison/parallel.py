"""A study's trials as parallel coordinates: a line a trial across its settings to the objective, with a brush on each axis.

Vega-Lite has no brush for each of several axes, so this chart is in Vega.
"""

import json
import math
from typing import Any

import pandas as pd

from regbench.platform.comparison.charts import CONFIG, INK, PARAMETERS, Chart, Spec, numeric
from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.looks import Look
from regbench.platform.comparison.text import number

HEIGHT = 220
# Half the width of the strip of an axis that can be brushed, in pixels.
STRIP = 14


def parallel(comparison: Comparison, track: str, data: str, entry: str, look: Look) -> Chart | None:
    """The tuning trials of an entry; None where there are fewer than two, or no settings are known.

    Trials that were stopped are dashed, the tuned configuration is thick.
    """
    found = comparison.of("sensitivity", track, data)
    found = found[(found["entry"] == entry) & found["objective"].map(math.isfinite)]
    settings = list(dict.fromkeys(found.sort_values("weight", ascending=False, kind="stable")["setting"]))
    of_entry = comparison.of("entries", track, data).query("entry == @entry").iloc[0]
    trials = _trials(found, settings, json.loads(of_entry["configuration"]))
    if len(trials) < 2 or not settings:
        return None
    axes = [_axis(found[found["setting"] == name], name) for name in settings]
    axes.append({"title": found.iloc[0]["objective_name"], "scale": {"type": "linear", "zero": False, "nice": True}})
    label = f"Tuning trials of {entry} on {data}: {', '.join(axis['title'] for axis in axes)}"
    return Chart(label, "wide", _spec(trials, axes, look), entry)


def _trials(found: pd.DataFrame, settings: list[str], tuned: dict[str, Any]) -> list[Row]:
    """A row a trial: ``v0``, ``v1``, … are the values of its settings, where it has them, and last its objective."""
    wanted = {name: numeric(value) if isinstance(value, float) else value for name, value in tuned.items()}
    rows = []
    for _, own in found.groupby("trial", sort=False):
        first = own.iloc[0]
        values = {row["setting"]: row["value"] if math.isnan(row["number"]) else numeric(row["number"]) for row in rows_of(own)}
        told = {name: number(value) if isinstance(value, float) else value for name, value in values.items()}
        told[first["objective_name"]] = number(first["objective"])
        stopped = first["status"] == "stopped"
        if stopped:
            told["stopped after"] = f"{first['rounds']} rounds"
        places = {f"v{i}": values[name] for i, name in enumerate(settings) if name in values}
        places[f"v{len(settings)}"] = numeric(first["objective"])
        rows.append(places | {"told": told, "stopped": stopped, "tuned": values == wanted})
    return rows


def _axis(rows: pd.DataFrame, name: str) -> Spec:
    """Title and scale of a setting's axis."""
    symbol = rows.iloc[0]["symbol"]
    title = f"{name} ({symbol})" if symbol else name
    if rows["number"].isna().any():
        return {"title": title, "scale": {"type": "point", "padding": 0.5, "domain": sorted(set(rows["value"]))}}
    if rows["log"].all() and rows["number"].min() > 0:
        return {"title": title, "scale": {"type": "log"}}
    return {"title": title, "scale": {"type": "linear", "zero": False, "nice": True}}


def _spec(trials: list[Row], axes: list[Spec], look: Look) -> Spec:
    places = range(len(axes))
    missing_or = [f"isValid(datum.v{i}) && inrange(scale('s{i}', datum.v{i}), brush{i})" for i in places]
    inside = " && ".join(f"(abs(brush{i}[1] - brush{i}[0]) < 3 || {test})" for i, test in zip(places, missing_or, strict=True))
    # A trial without a setting leaves a gap: its line is taken up again at the next one.
    move = ["'M'"] + [f"(isValid(datum.v{i - 1}) ? 'L' : 'M')" for i in places[1:]]
    steps = [
        f"(isValid(datum.v{i}) ? {step} + scale('x', {i}) + ',' + scale('s{i}', datum.v{i}) : '')"
        for i, step in zip(places, move, strict=True)
    ]
    lines = [{"type": "formula", "as": "path", "expr": " + ".join(steps)}, {"type": "formula", "as": "inside", "expr": inside}]
    counted = [{"type": "filter", "expr": "datum.inside"}, {"type": "aggregate"}]
    room = "isFinite(containerSize()[0]) ? containerSize()[0] : 600"
    return {
        "$schema": "https://vega.github.io/schema/vega/v6.json",
        "config": {"axis": CONFIG["axis"] | {"grid": False, "labelOverlap": True}},
        "background": None,
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 5, "right": 5, "top": 5, "bottom": 5},
        "signals": [
            *PARAMETERS,
            {"name": "width", "init": room, "on": [{"events": "window:resize", "update": room}]},
            *(_brush(i) for i in places),
        ],
        "data": [
            {"name": "trials", "values": trials},
            {"name": "lines", "source": "trials", "transform": lines},
            {"name": "inside", "source": "lines", "transform": counted},
            {"name": "axes", "values": [{"place": i, "title": axis["title"]} for i, axis in enumerate(axes)]},
        ],
        "scales": [
            {"name": "x", "type": "point", "domain": list(places), "range": "width"},
            *(
                {"domain": {"data": "trials", "field": f"v{i}"}, "name": f"s{i}", "range": [HEIGHT, 0]} | axis["scale"]
                for i, axis in enumerate(axes)
            ),
        ],
        "axes": [
            {
                "orient": "left",
                "scale": f"s{i}",
                "zindex": 1,
                "tickCount": 5,
                "format": "~g" if axis["scale"]["type"] != "point" else "",
                "offset": {"scale": "x", "value": i, "mult": -1},
            }
            for i, axis in enumerate(axes)
        ],
        "marks": [_lines(look.colour), _titles(len(axes)), _count(len(trials)), *(mark for i in places for mark in _strip(i))],
    }


def _brush(place: int) -> Spec:
    """The signal that holds what is brushed on an axis: from where to where, in pixels; less than three are nothing."""
    drag = f"[@strip{place}:pointerdown, window:pointerup] > window:pointermove!"
    return {
        "name": f"brush{place}",
        "value": [0, 0],
        "on": [
            {"events": f"@strip{place}:pointerdown", "update": "[y(), y()]"},
            {"events": drag, "update": f"[brush{place}[0], clamp(y(), 0, height)]"},
        ],
    }


def _strip(place: int) -> list[Spec]:
    """Where an axis can be brushed, and what is brushed of it."""
    x = {"x": {"scale": "x", "value": place, "offset": -STRIP}, "width": {"value": 2 * STRIP}}
    brushed = {"y": {"signal": f"brush{place}[0]"}, "y2": {"signal": f"brush{place}[1]"}}
    whole = {
        "y": {"value": 0},
        "height": {"signal": "height"},
        "fill": {"value": "transparent"},
        "cursor": {"value": "row-resize"},
    }
    return [
        {
            "type": "rect",
            "interactive": False,
            "encode": {"update": x | brushed | {"fill": {"value": INK}, "fillOpacity": {"value": 0.18}}},
        },
        {"type": "rect", "name": f"strip{place}", "encode": {"update": x | whole}},
    ]


def _lines(colour: str) -> Spec:
    width = {"signal": "datum.tuned ? 3.5 : 1.5"}
    opacity = {"signal": "datum.inside ? (datum.tuned ? 1 : 0.6) : 0.07"}
    dash = {"signal": "datum.stopped ? [5, 4] : [1, 0]"}
    update = {"path": {"field": "path"}, "strokeOpacity": opacity, "strokeWidth": width, "strokeDash": dash}
    enter = {"stroke": {"value": colour}, "fill": {"value": None}, "tooltip": {"field": "told"}}
    return {"type": "path", "name": "trial", "from": {"data": "lines"}, "encode": {"enter": enter, "update": update}}


def _titles(axes: int) -> Spec:
    """Titles above the axes, in two rows, so that long ones have room."""
    update = {
        "x": {"scale": "x", "field": "place"},
        "y": {"signal": "datum.place % 2 ? -24 : -10"},
        "text": {"field": "title"},
        "align": {"signal": f"datum.place == 0 ? 'left' : datum.place == {axes - 1} ? 'right' : 'center'"},
        "limit": {"signal": f"1.9 * width / {max(axes - 1, 1)}"},
        "fill": {"value": INK},
        "fontSize": {"value": 11.5},
    }
    return {"type": "text", "from": {"data": "axes"}, "interactive": False, "encode": {"update": update}}


def _count(trials: int) -> Spec:
    update = {
        "x": {"signal": "width"},
        "y": {"value": HEIGHT + 22},
        "align": {"value": "right"},
        "text": {"signal": f"datum.count + ' of {trials} trials'"},
        "fill": {"value": INK},
        "fontSize": {"value": 11},
    }
    return {"type": "text", "from": {"data": "inside"}, "interactive": False, "encode": {"update": update}}
