"""Plots of what was found: means, differences, calibration, curves, spectra, trade-offs, ranks.

Every function returns an SVG, or "" where there is nothing to draw.
"""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from regbench.platform.comparison.drawing import (
    INK,
    STYLE,
    WIDTH,
    Styles,
    better,
    confirmed,
    inline,
    legend,
    logarithmic,
    rows_figure,
)
from regbench.platform.comparison.frames import Comparison, rows_of
from regbench.platform.comparison.statistics import Estimate, estimate

# From so large a ratio of its values on, an axis of a trade-off is logarithmic: one diverged trial would hide all others.
WIDE = 100

# How far probabilities can be trusted, where a track reports it: whether they are right on average, whether they are right for
# each example, and whether they rank right before wrong predictions.
CALIBRATION = {"ece": "expected calibration error", "nll": "negative log-likelihood", "aurc": "area under risk-coverage curve"}


@mpl.rc_context(STYLE)
def forest(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Mean of the judged test metric of each confirmed entry with its interval, and the baseline's mean as a line."""
    entries = confirmed(comparison, track, data)
    if entries.empty:
        return ""
    labels = entries["entry"].where(~entries["baseline"], entries["entry"] + " (baseline)")
    figure, axes = rows_figure(list(labels))
    for place, row in enumerate(rows_of(entries)):
        colour, marker = look[row["entry"]]
        axes.plot(row["mean"], place, marker, color=colour, markersize=7)
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
        if row["baseline"]:
            axes.axvline(row["mean"], color=INK, linestyle="--", linewidth=1, alpha=0.6)
    axes.set_xlabel(f"test {entries.iloc[0]['metric']} ({better(entries.iloc[0]['mode'])}), mean and 95 % interval")
    return inline(figure, f"forest-{track}-{data}", f"Mean test metric and interval of each entry on {data}")


@mpl.rc_context(STYLE)
def differences(comparison: Comparison, track: str, data: str, look: Styles, against: str) -> str:
    """Paired differences, a dot for each seed, with their mean and its interval; against the baseline or the own ablation."""
    prefix = "difference" if against == "baseline" else "ablation"
    entries = confirmed(comparison, track, data)
    entries = entries[entries[f"{prefix}_pairs"] > 0]
    if entries.empty:
        return ""
    seeds = comparison.of("differences", track, data)
    figure, axes = rows_figure(list(entries["entry"]))
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
    return inline(figure, f"{prefix}-{track}-{data}", f"Paired differences to {other} on {data}, seed by seed")


@mpl.rc_context(STYLE)
def calibration(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Mean and interval of each confirmed entry in the metrics of ``CALIBRATION``, a panel a metric; no ECE, no figure."""
    found = comparison.of("metrics", track, data)
    found = found[found["stage"] == "confirm"]
    entries = confirmed(comparison, track, data)
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
    return inline(figure, f"calibration-{track}-{data}", f"Calibration of each entry on {data}")


@mpl.rc_context(STYLE)
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
    legend(figure, whole)
    return inline(figure, f"curves-{track}-{data}", f"Validation curves on {data}")


def _curve(axes: Axes, rows: pd.DataFrame, look: tuple[str, str]) -> None:
    rounds: dict[Any, Estimate] = {number: estimate(list(values)) for number, values in rows.groupby("round")["value"]}
    means, lows, highs = zip(*((at.mean, at.low, at.high) for at in rounds.values()), strict=True)
    colour, marker = look
    every = max(1, len(rounds) // 6)
    axes.plot(list(rounds), means, color=colour, marker=marker, markevery=every, markersize=5, label=rows.iloc[0]["entry"])
    axes.fill_between(list(rounds), lows, highs, color=colour, alpha=0.13, linewidth=0)


@mpl.rc_context(STYLE)
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
    return inline(figure, f"spectra-{track}-{data}", f"Eigenvalues of the linear operators on {data}")


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


@mpl.rc_context(STYLE)
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
            logarithmic(axes, name)
    axes.set_xlabel(f"{found.iloc[0]['first']} of the tuning trials")
    axes.set_ylabel(found.iloc[0]["second"])
    legend(figure, axes)
    return inline(figure, f"trade-offs-{track}-{data}", f"Trade-off between two metrics on {data}")


@mpl.rc_context(STYLE)
def critical_difference(comparison: Comparison, track: str, look: Styles) -> str:
    """Average ranks over data sets, and bars that join what Nemenyi's test does not tell apart (Demšar, 2006, figure 1)."""
    ranks = comparison.ranks[comparison.ranks["track"] == track].sort_values("rank")
    if ranks.empty:
        return ""
    width = float(comparison.friedman["critical_difference"][comparison.friedman["track"] == track].iloc[0])
    figure, axes = rows_figure(list(ranks["entry"]))
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
    return inline(figure, f"ranks-{track}", "Average ranks over data sets with critical difference")
