"""Plots of what was measured of hidden representations: over training, in the information plane, as a predictor.

Every function returns an SVG, or "" where there is nothing to draw.
"""

import math

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from regbench.platform.comparison.drawing import INK, STYLE, WIDTH, Styles, inline, legend
from regbench.platform.comparison.frames import Comparison, rows_of
from regbench.platform.comparison.statistics import estimate

# Diagnostics whose pairs are a plane: information about inputs, and about labels.
PLANES = {"ebab": "adaptive bins", "akde": "adaptive kernels", "dsmi": "diffusion spectra"}
# Panels of a figure at most.
MOST = 12


@mpl.rc_context(STYLE)
def over_training(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Each diagnostic of the confirmed configurations over rounds, with its interval over seeds, a panel a diagnostic."""
    found = comparison.of("diagnostics", track, data)
    names = list(dict.fromkeys(found["diagnostic"]))[:MOST]
    if not names:
        return ""
    figure, panels = _panels(len(names))
    for panel, name in zip(panels, names, strict=False):
        for entry, rows in found[found["diagnostic"] == name].groupby("entry", sort=True):
            colour, marker = look[str(entry)]
            at = {number: estimate(list(values)) for number, values in rows.groupby("round")["value"]}
            panel.plot(list(at), [e.mean for e in at.values()], color=colour, marker=marker, markersize=4, label=str(entry))
            panel.fill_between(
                list(at), [e.low for e in at.values()], [e.high for e in at.values()], color=colour, alpha=0.13, linewidth=0
            )
        panel.set_title(name, loc="left")
        panel.set_xlabel("round")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    legend(figure, panels[0])
    return inline(figure, f"diagnostics-{track}-{data}", f"Diagnostics over training on {data}")


@mpl.rc_context(STYLE)
def information_plane(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """What layers tell of labels over what they tell of inputs, a panel an entry and estimator; large markers: where they end.

    Means over seeds; a line is a layer's way through training, and layers are told apart by how dark they are, the first one
    faintest.
    """
    found = comparison.of("diagnostics", track, data)
    if found.empty:
        return ""
    # The representation has no layer's name before that of the diagnostic.
    parts = found["diagnostic"].str.rpartition("/")
    found = found.assign(layer=parts[0], kind=parts[2])
    drawn = [
        (str(entry), name, rows)
        for entry, rows in found.groupby("entry", sort=True)
        for name in PLANES
        if {_about_x(name), _about_y(name)} <= set(rows["kind"])
    ][:MOST]
    if not drawn:
        return ""
    figure, panels = _panels(len(drawn), shared=True)
    for panel, (entry, name, rows) in zip(panels, drawn, strict=False):
        colour, marker = look[entry]
        layers = list(dict.fromkeys(rows["layer"]))
        for place, layer in enumerate(layers):
            own = rows[rows["layer"] == layer]
            at = own.pivot_table(index="round", columns="kind", values="value", aggfunc="mean").dropna()
            x, y, strength = at[_about_x(name)], at[_about_y(name)], (place + 1) / len(layers)
            panel.plot(x, y, color=colour, alpha=strength, marker=".", linewidth=1)
            panel.plot(x.iloc[-1:], y.iloc[-1:], marker, color=colour, alpha=strength, markersize=7)
        panel.set_title(f"{entry}: {PLANES[name]}", loc="left")
        panel.set_xlabel("I(X; T), bits")
    for panel in panels[:: _columns(len(drawn))]:
        panel.set_ylabel("I(T; Y), bits")
    return inline(figure, f"information-plane-{track}-{data}", f"The information plane on {data}")


@mpl.rc_context(STYLE)
def prediction(comparison: Comparison, track: str, data: str, look: Styles) -> str:
    """Rank correlations of diagnostics with the objective over tuning trials; large ink marks are over all entries' trials."""
    found = comparison.of("predictors", track, data)
    if found.empty:
        return ""
    names = list(dict.fromkeys(found["diagnostic"]))[:MOST]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linestyle="--", linewidth=1, alpha=0.6)
    for row in rows_of(found[found["diagnostic"].isin(names)]):
        together = row["entry"] == ""
        colour, marker = (INK, "|") if together else look[row["entry"]]
        label = "all entries" if together else row["entry"]
        size = 14 if together else 6
        axes.plot(row["correlation"], names.index(row["diagnostic"]), marker, color=colour, markersize=size, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel(f"rank correlation with {found.iloc[0]['objective']} (right: the more, the better)")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside right upper")
    return inline(figure, f"prediction-{track}-{data}", f"Diagnostics as predictors on {data}")


def _about_x(name: str) -> str:
    return f"{name}_x"


def _about_y(name: str) -> str:
    return name if name == "dsmi" else f"{name}_y"


def _columns(count: int) -> int:
    return min(3, count)


def _panels(count: int, *, shared: bool = False) -> tuple[Figure, list[mpl.axes.Axes]]:
    """A figure of so many panels in rows of three, with axes of their own or the same; those left over are empty."""
    columns = _columns(count)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(1.6 + 2.4 * columns, 0.6 + 2.3 * lines), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=shared, sharey=shared).ravel())
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels
