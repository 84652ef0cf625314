"""How the report's plots look: one style, one colour and marker an entry, and figures as SVG inside a page.

Colours are those of Okabe and Ito, told apart by colour-blind readers; an entry keeps its colour and marker on the whole page.
Axes and text have the colour of the surrounding text, so that one SVG fits light and dark pages.
"""

import io
import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from regbench.platform.comparison.frames import Comparison

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7AE6", "#A0785A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Stands for the colour of the page's text; nothing else is drawn in it.
INK = "#010203"
WIDTH = 7.6
PIXELS = 96

Styles = Mapping[str, tuple[str, str]]

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "regbench",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK)


def styles(comparison: Comparison) -> Styles:
    """Colour and marker of every entry, the same on the whole page; the pairs repeat after 56 entries."""
    names = sorted(set(comparison.entries["entry"]))
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]) for i, name in enumerate(names)}


def confirmed(comparison: Comparison, track: str, data: str) -> pd.DataFrame:
    """The confirmed entries of a table, best first."""
    entries = comparison.of("entries", track, data)
    return entries[entries["confirmed"]]


def better(mode: str) -> str:
    """Where on an axis from left to right good values are."""
    return "right is better" if mode == "max" else "left is better"


def rows_figure(names: list[str]) -> tuple[Figure, Axes]:
    """A figure with a horizontal row for each name, the first at the top."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def logarithmic(axes: Axes, name: str) -> None:
    """Makes the axis x or y logarithmic, with plain numbers at its major ticks alone."""
    axes.set(**{f"{name}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Axes) -> None:
    """A legend beside the axes, in as many columns as keep it lower than the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", ncols=math.ceil(len(labels) / 14))


def inline(figure: Figure, name: str, label: str) -> str:
    """A figure as an ``<svg>`` element for an HTML page: no metadata, and ids that no other figure of the page has."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    # The rules of its <style> would hold for the whole page; the page's own style sheet has them.
    body = re.sub(r"<style.*?</style>", "", text[text.index(">", text.index("<svg")) + 1 :], flags=re.DOTALL)
    prefix = re.sub(r"\W+", lambda match: f"-{match.group().encode().hex()}-", name)

    def own(tag: re.Match[str]) -> str:
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", tag.group()).replace(INK, "currentColor")

    width, height = figure.get_size_inches()
    box = f'viewBox="0 0 {width * 72:g} {height * 72:g}" width="{width * PIXELS:.0f}"'
    return f'<svg {box} role="img" aria-label="{escape(label)}">' + re.sub(r"<[^<>]+>", own, body).strip()
