"""Plots of how entries were tuned: what each searched setting does, how much it matters, how weights were learned.

Every function returns an SVG, or "" where there is nothing to draw.
"""

import math

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from regbench.platform.comparison.drawing import STYLE, WIDTH, Styles, inline, logarithmic
from regbench.platform.comparison.frames import Comparison


@mpl.rc_context(STYLE)
def sensitivity(comparison: Comparison, track: str, data: str, entry: str, look: Styles) -> str:
    """The first objective of an entry's tuning trials over each searched setting, a panel a setting, the weights first."""
    found = comparison.of("sensitivity", track, data)
    found = found[found["entry"] == entry].sort_values("weight", ascending=False, kind="stable")
    settings = list(dict.fromkeys(found["setting"]))
    if not settings:
        return ""
    columns = min(3, len(settings))
    lines = math.ceil(len(settings) / columns)
    figure = Figure(figsize=(0.9 + 2.05 * columns, 0.6 + 2.1 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for panel, setting in zip(panels, settings, strict=False):
        _sensitivity_panel(panel, found[found["setting"] == setting], look[entry])
    for panel in panels[len(settings) :]:
        panel.set_axis_off()
    for panel in panels[::columns]:
        panel.set_ylabel(found.iloc[0]["objective_name"])
    if (found["status"] == "stopped").any():
        colour, marker = look[entry]
        handles = [
            Line2D([], [], color=colour, marker=marker, linestyle="", label="trained to the end"),
            Line2D([], [], color=colour, marker=marker, linestyle="", markerfacecolor="none", label="stopped early"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(2, columns))
    return inline(figure, f"sensitivity-{track}-{data}-{entry}", f"Sensitivity of {entry} to its searched settings on {data}")


def _sensitivity_panel(axes: Axes, rows: pd.DataFrame, look: tuple[str, str]) -> None:
    colour, marker = look
    numeric = rows["number"].notna().all()
    choices = sorted(set(rows["value"]))
    x = rows["number"] if numeric else rows["value"].map(choices.index)
    ended = rows["status"] == "completed"
    for chosen, face in ((ended, colour), (~ended, "none")):
        axes.plot(x[chosen], rows["objective"][chosen], marker, color=colour, markerfacecolor=face, alpha=0.8, markersize=5.5)
    if not numeric:
        axes.set_xticks(range(len(choices)), choices)
        axes.margins(x=0.3)
    elif rows["log"].all():
        logarithmic(axes, "x")
        narrow = x.max() < 20 * x.min()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=4))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(3))
    symbol = rows.iloc[0]["symbol"]
    axes.set_xlabel(rows.iloc[0]["setting"] + (f" ({symbol})" if symbol else ""))


@mpl.rc_context(STYLE)
def importance(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """The share of the tuned metric's variance that each searched setting of an entry explains, a panel an entry."""
    found = comparison.of("importance", track, data)
    found = found[found["missing"] == ""]
    entries = list(dict.fromkeys(found["entry"]))
    if not entries:
        return ""
    sizes = [int((found["entry"] == entry).sum()) for entry in entries]
    figure = Figure(figsize=(WIDTH, 0.7 + sum(0.28 * size + 0.42 for size in sizes)), layout="constrained")
    panels = figure.subplots(len(entries), 1, squeeze=False, sharex=True, height_ratios=[size + 0.6 for size in sizes]).ravel()
    for panel, entry in zip(panels, entries, strict=True):
        rows = found[found["entry"] == entry].iloc[::-1]
        panel.barh(range(len(rows)), rows["importance"], color=look[entry][0], height=0.65)
        panel.set_yticks(range(len(rows)), list(rows["setting"]))
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.set_title(f"{entry} ({rows.iloc[0]['trials']} trials)", loc="left")
        panel.grid(False, axis="y")
        panel.set_xlim(0, 1)
    panels[-1].set_xlabel("share of the variance of the tuned metric")
    return inline(figure, f"importance-{track}-{data}", f"Importance of the searched settings on {data}")


# What learning weights costs, by its column: all of it, and its parts.
SPENT = {
    "cost": "passes over the data",
    "lower_iterations": "lower iterations",
    "linear_iterations": "Hessian products",
    "seconds": "seconds",
}


@mpl.rc_context(STYLE)
def learning(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """How weights were learned: upper loss over each kind of cost, then hypergradient norm and each weight over all of it.

    Large markers are the iterations whose weights were learned in the end.
    """
    found = comparison.of("learning", track, data)
    found = found[found["cost"] > 0]
    names = [name for name in dict.fromkeys(found["quantity"]) if not name.startswith("learned/")]
    names.sort(key=lambda name: (not name.startswith("upper_loss"), not name.startswith("hypergradient"), name))
    if not names:
        return ""
    shares = [("upper_loss", spent) for spent in tuple(SPENT)[1:]] if "upper_loss" in names else []
    pairs = [(name, "cost") for name in names]
    pairs[1:1] = shares
    columns = min(3, len(pairs))
    lines = math.ceil(len(pairs) / columns)
    figure = Figure(figsize=(0.9 + 2.35 * columns, 0.7 + 2.3 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (name, spent) in zip(panels, pairs, strict=False):
        for entry, rows in found[found["quantity"] == name].groupby("entry", sort=True):
            of_entry = found[found["entry"] == entry]
            _learning_panel(panel, rows, of_entry[of_entry["quantity"] == "upper_loss"], spent, look[str(entry)])
        panel.set_title(name.removeprefix("weight/").replace("_", " "), loc="left")
        panel.set_xlabel(SPENT[spent])
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_xlim(left=0)
        sizes = found["value"][found["quantity"] == name]
        if name == "hypergradient_norm" and 0 < 20 * sizes.min() < sizes.max():
            logarithmic(panel, "y")
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    shown = [(entry, look[entry]) for entry in sorted(set(found["entry"]))]
    handles = [Line2D([], [], color=colour, marker=marker, label=entry) for entry, (colour, marker) in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return inline(figure, f"learning-{track}-{data}", f"How weights were learned on {data}")


def _learning_panel(axes: Axes, rows: pd.DataFrame, losses: pd.DataFrame, spent: str, look: tuple[str, str]) -> None:
    """One quantity of one entry over what had been spent, with a large marker where its upper loss was least."""
    colour, marker = look
    rows = rows.drop_duplicates("cost")
    few = len(rows) <= 30
    axes.plot(rows[spent], rows["value"], color=colour, marker="." if few else "", markersize=5, linewidth=1.4, alpha=0.8)
    if not losses.empty:
        learned = rows[rows["cost"] == losses.sort_values("value")["cost"].iloc[0]]
        axes.plot(learned[spent], learned["value"], marker, color=colour, markersize=8)
