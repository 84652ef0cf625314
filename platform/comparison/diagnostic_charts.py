"""Charts of what was measured of hidden representations: over training, in the information plane, as a predictor.

Every function returns its charts, or none where there is nothing to draw.
"""

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
    in_rows,
    measure,
    numeric,
    only,
    rows_of_entries,
    shape,
    tooltip,
)
from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.looks import Look, Looks
from regbench.platform.comparison.statistics import estimate
from regbench.platform.comparison.text import mean_text

# Diagnostics whose pairs are a plane: information about inputs, and about labels.
PLANES = {
    "adaptive bins": ("ebab_x", "ebab_y"),
    "adaptive kernels": ("akde_x", "akde_y"),
    "diffusion spectra": ("dsmi_x", "dsmi"),
}
# Charts of a kind at most.
MOST = 12


def over_training(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Each diagnostic of the confirmed configurations over rounds, with its interval over seeds, a chart a diagnostic."""
    found = comparison.of("diagnostics", track, data)
    charts = []
    for name in list(dict.fromkeys(found["diagnostic"]))[:MOST]:
        rows: list[Row] = []
        for (entry, at), own in found[found["diagnostic"] == name].groupby(["entry", "round"], sort=True):
            mean = estimate(list(own["value"]))
            limits = {"low": numeric(mean.low), "high": numeric(mean.high)}
            shown = mean_text(mean.mean, mean.low, mean.high)
            rows.append({"entry": entry, "round": at, "value": numeric(mean.mean), "shown": shown} | limits)
        looked = only(look, rows)
        x = measure("round", "round", ticks=4, axis={"format": "d"}, nice=False)
        base = {"x": x, "color": colour(looked), "tooltip": tooltip(entry="entry", round="round", shown=name)}
        layers = banded(base, "bits", fade(0.14))
        spec = {"title": name, "height": 170, "data": {"values": rows}, "transform": [VISIBLE], "layer": layers}
        charts.append(Chart(f"{name} over training on {data}", "small", spec))
    return charts


def information_plane(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """What layers tell of labels over what they tell of inputs, a chart an entry and estimator, means over seeds.

    A line is a layer's way through training, with a large mark where it ends; the first layer is the faintest.
    """
    found = comparison.of("diagnostics", track, data)
    if found.empty:
        return []
    # The representation has no layer's name before that of the diagnostic.
    parts = found["diagnostic"].str.rpartition("/")
    found = found.assign(layer=parts[0], kind=parts[2])
    charts = []
    for entry, own in found.groupby("entry", sort=True):
        for title, pair in PLANES.items():
            if set(pair) <= set(own["kind"]):
                spec = _plane(own, *pair, look[str(entry)]) | {"title": f"{entry}: {title}", "height": 190}
                charts.append(Chart(f"The information plane of {entry} on {data}, {title}", "small", spec, str(entry)))
    return charts[:MOST]


def _plane(found: pd.DataFrame, about_x: str, about_y: str, item: Look) -> Spec:
    layers, rows = list(dict.fromkeys(found["layer"])), list[Row]()
    for place, layer in enumerate(layers, start=1):
        at = found[found["layer"] == layer].pivot_table(index="round", columns="kind", values="value", aggfunc="mean").dropna()
        rows += [
            {"layer": layer or "representation", "strength": place / len(layers), "round": number}
            | {"x": numeric(point[about_x]), "y": numeric(point[about_y]), "last": bool(number == at.index[-1])}
            for number, point in at.iterrows()
        ]
    where: Spec = {
        "x": measure("x", "I(X; T), bits"),
        "y": measure("y", "I(T; Y), bits"),
        "opacity": {"field": "strength", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0, 1]}, "legend": None},
        "tooltip": tooltip(layer="layer", round="round"),
    }
    line: Spec = {"mark": {"type": "line", "color": item.colour, "strokeWidth": 1.2}} | {
        "encoding": where | {"detail": {"field": "layer"}, "order": {"field": "round"}}
    }
    points: Spec = {"mark": {"type": "point", "filled": True, "color": item.colour, "size": 10}, "encoding": where}
    end: Spec = {
        "mark": {"type": "point", "filled": True, "color": item.colour, "shape": item.mark, "size": 70},
        "encoding": where,
    }
    return {"data": {"values": rows}, "layer": [line, points, end | {"transform": [{"filter": "datum.last"}]}]}


def prediction(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Rank correlations of diagnostics with the objective over tuning trials; ticks are over all entries' trials."""
    found = comparison.of("predictors", track, data)
    if found.empty:
        return []
    names = list(dict.fromkeys(found["diagnostic"]))[:MOST]
    rows = [
        {"entry": row["entry"], "diagnostic": row["diagnostic"], "value": numeric(row["correlation"])}
        | {"shown": f"{row['correlation']:.2f} over {row['trials']} trials, p = {row['p']:.2g}"}
        for row in rows_of(found[found["diagnostic"].isin(names)])
    ]
    title = [f"rank correlation with {found.iloc[0]['objective']}", "(right: the more, the better)"]
    place = {
        "x": measure("value", title, domain=[-1, 1]),
        "y": rows_of_entries(names, "diagnostic"),
        "tooltip": tooltip(entry="entry", shown="correlation"),
    }
    looked = only(look, rows)
    layers: list[Spec] = [
        across("x", 0),
        {
            "transform": [{"filter": "datum.entry !== ''"}],
            "mark": {"type": "point", "filled": True, "size": 55},
            "encoding": place | {"color": colour(looked), "shape": shape(looked), "opacity": fade()},
        },
        {
            "transform": [{"filter": "datum.entry === ''"}],
            "mark": {"type": "tick", "thickness": 2.5, "color": INK},
            "encoding": place,
        },
    ]
    spec = {"data": {"values": rows}, "transform": [VISIBLE], "layer": layers, "height": in_rows(30, names)["height"]}
    return [Chart(f"Diagnostics as predictors on {data}", "half", spec)]
