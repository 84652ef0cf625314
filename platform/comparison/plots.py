"""The report's plots: each a Matplotlib figure, returned as an SVG string to be placed inside an HTML page.

Colours are those of Okabe and Ito, told apart by colour-blind readers; an entry keeps its colour and marker on the whole page.
Axes and text have the colour of the surrounding text, so that one SVG fits light and dark pages. Every function returns ""
where there is nothing to draw.
"""

import io
import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from regbench.platform.comparison.compare import Comparison, Estimate, estimate, rows_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7AE6", "#A0785A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Stands for the colour of the page's text; nothing else is drawn in it.
INK = "#010203"
WIDTH = 7.6
# From so large a ratio of its values on, an axis of a trade-off is logarithmic: one diverged trial would hide all others.
WIDE = 100
PIXELS = 96

# How far probabilities can be trusted, where a track reports it: whether they are right on average, whether they are right for
# each example, and whether they rank right before wrong predictions.
CALIBRATION = {"ece": "expected calibration error", "nll": "negative log-likelihood", "aurc": "area under risk-coverage curve"}

Styles = Mapping[str, tuple[str, str]]

_STYLE: dict[Any, Any] = {
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


@mpl.rc_context(_STYLE)
def forest(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Mean of the judged test metric of each confirmed entry with its interval, and the baseline's mean as a line."""
    entries = _confirmed(comparison, track, data)
    if entries.empty:
        return ""
    labels = entries["entry"].where(~entries["baseline"], entries["entry"] + " (baseline)")
    figure, axes = _rows(list(labels))
    for place, row in enumerate(rows_of(entries)):
        colour, marker = look[row["entry"]]
        axes.plot(row["mean"], place, marker, color=colour, markersize=7)
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
        if row["baseline"]:
            axes.axvline(row["mean"], color=INK, linestyle="--", linewidth=1, alpha=0.6)
    axes.set_xlabel(f"test {entries.iloc[0]['metric']} ({_better(entries.iloc[0]['mode'])}), mean and 95 % interval")
    return _inline(figure, f"forest-{track}-{data}", f"Mean test metric and interval of each entry on {data}")


@mpl.rc_context(_STYLE)
def differences(comparison: Comparison, track: str, data: str, look: Styles, against: str) -> str:
    """Paired differences, a dot for each seed, with their mean and its interval; against the baseline or the own ablation."""
    prefix = "difference" if against == "baseline" else "ablation"
    entries = _confirmed(comparison, track, data)
    entries = entries[entries[f"{prefix}_pairs"] > 0]
    if entries.empty:
        return ""
    seeds = comparison.of("differences", track, data)
    figure, axes = _rows(list(entries["entry"]))
    axes.axvline(0, color=INK, linestyle="--", linewidth=1, alpha=0.6)
    for place, row in enumerate(rows_of(entries)):
        colour, marker = look[row["entry"]]
        values = seeds["value"][(seeds["entry"] == row["entry"]) & (seeds["against"] == against)]
        axes.plot(values, np.full(len(values), place + 0.22), "o", color=colour, alpha=0.45, markersize=4.5, markeredgewidth=0)
        axes.plot(row[f"{prefix}_value"], place, marker, color=colour, markersize=7)
        axes.plot([row[f"{prefix}_low"], row[f"{prefix}_high"]], [place, place], color=colour, linewidth=2)
    other = "the baseline" if against == "baseline" else "its own weights off"
    first = entries.iloc[0]
    good = "right of the line is better" if first["mode"] == "max" else "left of the line is better"
    axes.set_xlabel(f"difference in test {first['metric']} to {other} ({good})")
    return _inline(figure, f"{prefix}-{track}-{data}", f"Paired differences to {other} on {data}, seed by seed")


@mpl.rc_context(_STYLE)
def calibration(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Mean and interval of each confirmed entry in the metrics of ``CALIBRATION``, a panel a metric; no ECE, no figure."""
    found = comparison.of("metrics", track, data)
    found = found[found["stage"] == "confirm"]
    entries = _confirmed(comparison, track, data)
    if "ece" not in set(found["metric"]):
        return ""
    names = [name for name in CALIBRATION if name in set(found["metric"])]
    figure = Figure(figsize=(WIDTH + 1.6, 1.1 + 0.36 * len(entries)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        of_metric = {row["entry"]: row for row in rows_of(found[found["metric"] == name])}
        for place, entry in enumerate(rows_of(entries)):
            if (row := of_metric.get(entry["entry"])) is None:
                continue
            colour, marker = look[row["entry"]]
            axes.plot(row["mean"], place, marker, color=colour, markersize=7)
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
            if entry["baseline"]:
                axes.axvline(row["mean"], color=INK, linestyle="--", linewidth=1, alpha=0.6)
        axes.set_title(CALIBRATION[name], loc="left")
        axes.set_xlabel(f"test {name} (left is better)")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(entries)), list(entries["entry"]))
    panels[0].set_ylim(len(entries) - 0.4, -0.6)
    return _inline(figure, f"calibration-{track}-{data}", f"Calibration of each entry on {data}")


@mpl.rc_context(_STYLE)
def curves(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Validation curves of the confirmed configurations, with their interval: all rounds, and the second half."""
    found = comparison.of("curves", track, data)
    last = 0 if found.empty else int(found["round"].max())
    if last < 2:
        return ""
    figure = Figure(figsize=(WIDTH + 1.6, 3.6), layout="constrained")
    whole, end = figure.subplots(1, 2)
    for entry, rows in found.groupby("entry", sort=True):
        _curve(whole, rows, look[str(entry)])
        # Where others learn over many rounds, one that learns nothing ends with its first.
        if not (late := rows[rows["round"] >= last / 2]).empty:
            _curve(end, late, look[str(entry)])
    whole.set_title("all rounds", loc="left")
    end.set_title("second half", loc="left")
    whole.set_ylabel(found.iloc[0]["metric"])
    for axes in (whole, end):
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(figure, whole)
    return _inline(figure, f"curves-{track}-{data}", f"Validation curves on {data}")


def _curve(axes: Axes, rows: pd.DataFrame, look: tuple[str, str]) -> None:
    rounds: dict[Any, Estimate] = {number: estimate(list(values)) for number, values in rows.groupby("round")["value"]}
    means, lows, highs = zip(*((at.mean, at.low, at.high) for at in rounds.values()), strict=True)
    colour, marker = look
    every = max(1, len(rounds) // 6)
    axes.plot(list(rounds), means, color=colour, marker=marker, markevery=every, markersize=5, label=rows.iloc[0]["entry"])
    axes.fill_between(list(rounds), lows, highs, color=colour, alpha=0.13, linewidth=0)


@mpl.rc_context(_STYLE)
def spectra(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Eigenvalues of each entry's linear operators beside the unit circle, a panel an entry, and the system's own as crosses.

    The operators are real: each eigenvalue is drawn with its conjugate, which need not be among the recorded ones.
    """
    found = comparison.of("spectra", track, data)
    if found.empty:
        return ""
    found = pd.concat([found, found.assign(imag=-found["imag"])])
    entries = [entry for entry in dict.fromkeys(comparison.of("entries", track, data)["entry"]) if entry in set(found["entry"])]
    columns = min(4, len(entries))
    lines = math.ceil(len(entries) / columns)
    figure = Figure(figsize=(0.6 + 2.2 * columns, 0.9 + 2.3 * lines), layout="compressed")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, entry in zip(panels, entries, strict=False):
        _spectrum_panel(panel, found[found["entry"] == entry], look[entry])
        panel.set_title(entry, loc="left")
    for panel in panels[len(entries) :]:
        panel.set_axis_off()
    # The shape of a marker is the entry's; what it stands for is in how it is filled.
    handles = [
        Line2D([], [], color=INK, marker="o", linestyle="", alpha=0.5, label="confirmation seeds"),
        Line2D([], [], color=INK, marker="o", linestyle="", markerfacecolor="none", label="tuned configuration"),
    ]
    if "system" in set(found["eigenvalue"]):
        handles.append(Line2D([], [], color=INK, marker="x", linestyle="", markersize=8, label="the system's own"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns))
    return _inline(figure, f"spectra-{track}-{data}", f"Eigenvalues of the linear operators on {data}")


def _spectrum_panel(axes: Axes, rows: pd.DataFrame, look: tuple[str, str]) -> None:
    colour, marker = look
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=1, alpha=0.6))
    system = rows["eigenvalue"] == "system"
    for stage, face, alpha in (("confirm", colour, 0.4), ("tune", "none", 1.0)):
        chosen = rows[(rows["stage"] == stage) & ~system].drop_duplicates(["seed", "real", "imag"])
        axes.plot(chosen["real"], chosen["imag"], marker, color=colour, markerfacecolor=face, alpha=alpha, markersize=5)
    known = rows[system].drop_duplicates(["real", "imag"])
    axes.plot(known["real"], known["imag"], "x", color=INK, markersize=8)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 5, 10)))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 5, 10)))


@mpl.rc_context(_STYLE)
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
    return _inline(figure, f"sensitivity-{track}-{data}-{entry}", f"Sensitivity of {entry} to its searched settings on {data}")


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
        _logarithmic(axes, "x")
        narrow = x.max() < 20 * x.min()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=4))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(3))
    symbol = rows.iloc[0]["symbol"]
    axes.set_xlabel(rows.iloc[0]["setting"] + (f" ({symbol})" if symbol else ""))


@mpl.rc_context(_STYLE)
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
    return _inline(figure, f"importance-{track}-{data}", f"Importance of the searched settings on {data}")


# What learning weights costs, by its column: all of it, and its parts.
SPENT = {
    "cost": "passes over the data",
    "lower_iterations": "lower iterations",
    "linear_iterations": "Hessian products",
    "seconds": "seconds",
}


@mpl.rc_context(_STYLE)
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
            _logarithmic(panel, "y")
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    shown = [(entry, look[entry]) for entry in sorted(set(found["entry"]))]
    handles = [Line2D([], [], color=colour, marker=marker, label=entry) for entry, (colour, marker) in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return _inline(figure, f"learning-{track}-{data}", f"How weights were learned on {data}")


def _learning_panel(axes: Axes, rows: pd.DataFrame, losses: pd.DataFrame, spent: str, look: tuple[str, str]) -> None:
    """One quantity of one entry over what had been spent, with a large marker where its upper loss was least."""
    colour, marker = look
    rows = rows.drop_duplicates("cost")
    few = len(rows) <= 30
    axes.plot(rows[spent], rows["value"], color=colour, marker="." if few else "", markersize=5, linewidth=1.4, alpha=0.8)
    if not losses.empty:
        learned = rows[rows["cost"] == losses.sort_values("value")["cost"].iloc[0]]
        axes.plot(learned[spent], learned["value"], marker, color=colour, markersize=8)


@mpl.rc_context(_STYLE)
def trade_offs(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Two metrics of the fully trained tuning trials; a line joins those that none dominates."""
    found = comparison.of("trade_offs", track, data)
    if found.empty:
        return ""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    front = found[found["front"]].sort_values("first_value")
    axes.plot(front["first_value"], front["second_value"], color=INK, linewidth=1, alpha=0.6, label="not dominated")
    for entry, rows in found.groupby("entry", sort=True):
        colour, marker = look[str(entry)]
        axes.plot(rows["first_value"], rows["second_value"], marker, color=colour, alpha=0.75, markersize=6, label=str(entry))
    for name, value in (("x", "first_value"), ("y", "second_value")):
        if found[value].max() > WIDE * found[value].min() > 0:
            _logarithmic(axes, name)
    axes.set_xlabel(f"{found.iloc[0]['first']} of the tuning trials")
    axes.set_ylabel(found.iloc[0]["second"])
    _legend(figure, axes)
    return _inline(figure, f"trade-offs-{track}-{data}", f"Trade-off between two metrics on {data}")


@mpl.rc_context(_STYLE)
def critical_difference(comparison: Comparison, track: str, look: Styles) -> str:
    """Average ranks over data sets, and bars that join what Nemenyi's test does not tell apart (Demšar, 2006, figure 1)."""
    ranks = comparison.ranks[comparison.ranks["track"] == track].sort_values("rank")
    if ranks.empty:
        return ""
    width = float(comparison.friedman["critical_difference"][comparison.friedman["track"] == track].iloc[0])
    figure, axes = _rows(list(ranks["entry"]))
    for place, row in enumerate(rows_of(ranks)):
        colour, marker = look[row["entry"]]
        axes.plot(row["rank"], place, marker, color=colour, markersize=7)
    values = ranks["rank"].to_numpy()
    reach = [int(np.searchsorted(values, value + width, side="right")) - 1 for value in values]
    for start, end in enumerate(reach):
        if end > start and (start == 0 or end > reach[start - 1]):
            y = [start - 0.25, end + 0.25]
            x = values[end] + 0.1 + 0.08 * start
            axes.plot([x, x], y, color=INK, linewidth=3, alpha=0.5, solid_capstyle="butt")
    axes.set_xlim(0.8, max(values[-1], 1) + 0.08 * len(values) + 0.3)
    axes.set_xlabel(f"average rank (1 is best); bars join ranks closer than {width:.2f}")
    return _inline(figure, f"ranks-{track}", "Average ranks over data sets with critical difference")


def _confirmed(comparison: Comparison, track: str, data: str) -> pd.DataFrame:
    entries = comparison.of("entries", track, data)
    return entries[entries["confirmed"]]


def _better(mode: str) -> str:
    return "right is better" if mode == "max" else "left is better"


def _rows(names: list[str]) -> tuple[Figure, Axes]:
    """A figure with a horizontal row for each name, the first at the top."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def _logarithmic(axes: Axes, name: str) -> None:
    """Makes the axis x or y logarithmic, with plain numbers at its major ticks alone."""
    axes.set(**{f"{name}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, axes: Axes) -> None:
    """A legend beside the axes, in as many columns as keep it lower than the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", ncols=math.ceil(len(labels) / 14))


def _inline(figure: Figure, name: str, label: str) -> str:
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
