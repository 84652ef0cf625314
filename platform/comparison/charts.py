"""Charts of the report: Vega-Lite specifications, drawn once as an SVG for every page, and again by scripts where they run.

A chart is drawn by the same specification twice: here, by vl-convert, as the SVG that is read and printed without scripts, and
in the browser, where it answers to the page. Two parameters, ``chosen`` and ``hidden``, hold the names of the entry that is
highlighted and of those that are filtered out. Text and axes have the colour of the page's text: one chart fits light and dark.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import vl_convert

from regbench.platform.comparison.frames import Row
from regbench.platform.comparison.looks import Look, Looks
from regbench.platform.comparison.slim import slim

Spec = dict[str, Any]
Size = Literal["wide", "half", "small"]

# In pixels; in a browser, charts are as wide as the page gives them room.
WIDTHS: dict[Size, int] = {"wide": 600, "half": 400, "small": 190}

PARAMETERS: list[Spec] = [{"name": "chosen", "value": ""}, {"name": "hidden", "value": []}]
VISIBLE: Spec = {"filter": "indexof(hidden, datum.entry) < 0"}

INK = "currentColor"
CONFIG: Spec = {
    "background": None,
    "font": "DejaVu Sans",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "tickColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.12,
        "domainOpacity": 0.5,
        "tickOpacity": 0.5,
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "titleFontWeight": "normal",
        "labelLimit": 220,
        "titleLimit": 520,
    },
    "title": {"color": INK, "anchor": "start", "fontSize": 12, "fontWeight": "bold", "frame": "bounds"},
    "text": {"color": INK},
    "rule": {"color": INK},
}


@dataclass(frozen=True)
class Chart:
    """One drawing of the page.

    Attributes:
        label: what it shows, for those who do not see it.
        size: how much room it takes.
        spec: in Vega-Lite, without ``width``; in Vega where it has a ``$schema`` of its own.
        entry: whose it is, where it is of one entry alone.
    """

    label: str
    size: Size
    spec: Spec
    entry: str = ""

    @property
    def scripted(self) -> bool:
        """Whether only scripts draw it."""
        return "$schema" in self.spec

    @property
    def live(self) -> Spec:
        """The specification for a browser, as wide as its container."""
        if self.scripted:
            return self.spec
        return _complete(self.spec | {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}})

    def svg(self, prefix: str) -> str:
        """The chart as an ``<svg>`` element that stands in a page, whose ids begin with the prefix."""
        return slim(_drawn(self.spec | {"width": WIDTHS[self.size]}), prefix, self.label)


def standalone(charts: list[Chart], columns: int) -> str:
    """Several charts as one SVG document on a white ground, with a legend, for where there is no page around them."""
    inner = [chart.spec | {"width": WIDTHS[chart.size]} for chart in charts]
    spec = inner[0] if len(inner) == 1 else {"concat": inner, "columns": columns}
    # In a page, the table of answers is the legend.
    spec = json.loads(json.dumps(spec).replace('"legend": null', '"legend": {"title": null}'))
    start = '<svg xmlns="http://www.w3.org/2000/svg" style="background: white; font-family: sans-serif"'
    return slim(_drawn(spec), "chart", charts[0].label).replace("<svg", start, 1)


def _drawn(spec: Spec) -> str:
    return str(vl_convert.vegalite_to_svg(_complete(spec)))


def _complete(spec: Spec) -> Spec:
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    return {"$schema": schema, "config": CONFIG} | spec | {"params": PARAMETERS + spec.get("params", [])}


def numeric(value: float) -> float | None:
    """A number as JSON has it, with six significant digits; None for what is none."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def colour(look: Looks) -> Spec:
    """The colour of each entry, as an encoding."""
    scale = {"domain": list(look), "range": [item.colour for item in look.values()]}
    return {"field": "entry", "type": "nominal", "scale": scale, "legend": None}


def shape(look: Looks) -> Spec:
    """The mark of each entry, as an encoding."""
    scale = {"domain": list(look), "range": [item.mark for item in look.values()]}
    return {"field": "entry", "type": "nominal", "scale": scale, "legend": None}


def fade(opacity: float = 1.0) -> Spec:
    """The opacity of a mark, as an encoding: little where another entry is highlighted."""
    return {"condition": {"test": "chosen === '' || datum.entry === chosen", "value": opacity}, "value": 0.12 * opacity}


def tooltip(**titles: str) -> list[Spec]:
    """What is told of a mark under the pointer: titles of fields that hold text."""
    return [{"field": field, "type": "nominal", "title": title.replace("_", " ")} for field, title in titles.items()]


def measure(
    field: str, title: str | list[str] | None = None, *, ticks: int = 5, axis: Spec | None = None, **scale: Any
) -> Spec:
    """A number's place on an axis that need not begin at zero.

    Args:
        field: which.
        title: of the axis, in one line or several.
        ticks: about so many.
        axis: more of the axis.
        scale: properties of the scale.
    """
    # By itself, Vega rounds the tick of an axis on which all values are the same to a whole number.
    shown = {"tickCount": ticks, "format": "~r"} | (axis or {})
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False} | scale, "axis": shown}


def logarithmic(field: str, title: str | None, low: float, high: float) -> Spec:
    """A positive number's place on a logarithmic axis that reaches from ``low`` to ``high``, with few round ticks."""
    steps = (1, 2, 5) if high < 20 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = math.ceil(len(decades) / 5)
    ticks = [
        float(f"{step}e{decade}") for decade in decades[::every] for step in steps if low <= float(f"{step}e{decade}") <= high
    ]
    axis = {"values": ticks, "format": "~g"}
    return {"field": field, "type": "quantitative", "title": title, "scale": {"type": "log", "nice": False}, "axis": axis}


def in_rows(step: int, entries: Iterable[str]) -> Spec:
    """The height of a chart that has a row an entry; scripts make it lower where entries are filtered out."""
    names = list(entries)
    return {"height": step * len(names), "usermeta": {"step": step, "entries": names}}


def rows_of_entries(labels: Iterable[str], field: str = "label") -> Spec:
    """A row for each name, in this order from the top."""
    axis = {"domain": False, "ticks": False, "grid": False, "labelPadding": 8}
    return {"field": field, "type": "nominal", "sort": list(labels), "title": None, "axis": axis}


def across(axis: str, at: float) -> Spec:
    """A dashed line across the chart, where a value is on an axis."""
    place = {axis: {"field": "at", "type": "quantitative"}}
    rule = {"type": "rule", "strokeDash": [4, 3], "opacity": 0.6}
    return {"data": {"values": [{"at": numeric(at)}]}, "mark": rule, "encoding": place}


def good_side(mode: str) -> str:
    """Where on an axis from left to right good values are."""
    return {"max": "right is better", "min": "left is better"}.get(mode, "")


def banded(base: Spec, title: str, band: Spec) -> list[Spec]:
    """Lines of ``value``, each with a band from ``low`` to ``high`` where there is one.

    Args:
        base: what both encode besides.
        title: of the axis.
        band: opacity of the bands.
    """
    return [
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": "area",
            "encoding": base | {"y": measure("low", title), "y2": {"field": "high"}, "opacity": band},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.8},
            "encoding": base | {"y": measure("value", title), "opacity": fade()},
        },
    ]


def only(look: Looks, rows: Iterable[Row]) -> dict[str, Look]:
    """The looks of the entries that are in these rows."""
    present = {row["entry"] for row in rows}
    return {entry: item for entry, item in look.items() if entry in present}
