"""Plots of measured effects: a forest of all papers' claims, and the differences of one method."""

import math
import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from regbench.platform.comparison.effects import effects_of
from regbench.platform.comparison.frames import rows_of
from regbench.platform.comparison.papers import FINDINGS, Finding, Headline

# Colour and mark of each finding, told apart without colours.
LOOKS: dict[Finding, tuple[str, str]] = {
    "as claimed": ("#009E73", "o"),
    "equivalent": ("#0072B2", "s"),
    "not shown": ("#7B838C", "D"),
    "opposite": ("#D55E00", "v"),
}
# Between these the axis is linear.
LINEAR = 2.0
TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30, 100)


def claims_plot(headlines: Sequence[Headline]) -> Figure:
    """Standardized effects with their intervals, one row a method, to the right what its paper claims.

    Args:
        headlines: from the top.
    """
    figure = Figure(figsize=(9.6, 1.3 + 0.27 * len(headlines)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
    ends = [0.0]
    for place, headline in enumerate(headlines):
        colour, mark = LOOKS[headline.finding]
        value, low, high = headline.standardized
        if math.isnan(value):
            axes.text(0.1, place, "the same difference at every seed", va="center", fontsize=8, color="0.35")
            continue
        ends += [end for end in (low, value, high) if math.isfinite(end)]
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, place, mark, color=colour, markersize=6)
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_xticks([tick for tick in TICKS if min(ends) * 1.1 <= tick <= max(ends) * 1.1], minor=False)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(headlines)), [headline.slug for headline in headlines], fontsize=9)
    axes.set_ylim(len(headlines) - 0.4, -0.6)
    axes.grid(True, axis="x", alpha=0.25)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    unit = "difference / standard deviation of the paired differences, 95 % interval"
    axes.set_xlabel(f"{unit}\n← opposite      as the paper claims →")
    # What is measured of whom, beside each row.
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(range(len(headlines)), [_measured(headline) for headline in headlines], fontsize=8, color="0.35")
    right.tick_params(axis="y", length=0)
    for side in ("top", "right", "left", "bottom"):
        right.spines[side].set_visible(False)
    handles = [
        axes.plot([], [], mark, color=colour, label=f"{finding} ({count})")[0]
        for finding, (colour, mark) in LOOKS.items()
        if (count := sum(headline.finding == finding for headline in headlines))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(FINDINGS), frameon=False)
    return figure


def _measured(headline: Headline) -> str:
    row = headline.row
    return f"{row['metric'].replace('_', ' ')} on {row['data'].replace('_', ' ')}, to {row['against'].replace('_', ' ')}"


def effect_plot(slug: str) -> Figure:
    """Differences of a method to its opponents, a panel for each metric on each data set of each suite that measured it."""
    rows = pd.DataFrame(effects_of(slug))
    shown = list(rows[["suite", "data", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    opponents = list(dict.fromkeys(rows["against"]))
    several = rows["data"].nunique() > 1
    again = len(rows[["suite", "data"]].drop_duplicates()) > rows["data"].nunique()
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(2.4 + 2.6 * columns, lines * (1.4 + 0.36 * len(opponents))), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, (suite, data, metric) in zip(panels, shown, strict=False):
        here = rows[(rows["suite"] == suite) & (rows["data"] == data) & (rows["metric"] == metric)]
        axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
        for row in rows_of(here):
            place = opponents.index(row["against"])
            axes.plot([row["difference_low"], row["difference_high"]], [place, place], color="#0072B2", linewidth=2)
            axes.plot(row["difference"], place, "o", color="#0072B2", markersize=7)
        better = "right" if here["mode"].iloc[0] == "max" else "left"
        title = f"difference in {metric.replace('_', ' ')}" + (f" on {data}" if several else "")
        title += f", {suite.replace('_', ' ')}" if again else ""
        axes.set_title("\n".join(textwrap.wrap(title, 24)), fontsize=10, loc="left")
        axes.set(xlabel=f"{better} is better", ylim=(len(opponents) - 0.5, -0.5))
        axes.set_yticks(range(len(opponents)), [f"to {name}" for name in opponents])
        axes.locator_params(axis="x", nbins=4)
    return figure
