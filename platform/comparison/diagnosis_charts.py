"""Charts of what some tracks report besides: how far probabilities can be trusted, and spectra of linear operators.

Every function returns its charts, or none where there is nothing to draw.
"""

import math

import numpy as np
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
    measure,
    numeric,
    only,
    rows_of_entries,
    shape,
    tooltip,
)
from regbench.platform.comparison.frames import Comparison, rows_of
from regbench.platform.comparison.looks import Looks
from regbench.platform.comparison.text import mean_text

CROSS = "M-1,-1L1,1M-1,1L1,-1"

# How far probabilities can be trusted, where a track reports it: whether they are right on average, whether they are right for
# each example, and whether they rank right before wrong predictions.
CALIBRATION = {"ece": "expected calibration error", "nll": "negative log-likelihood", "aurc": "area under risk-coverage curve"}


def calibration(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Mean and interval of each confirmed entry in the metrics of ``CALIBRATION``, a panel a metric; no ECE, no chart."""
    found = comparison.of("metrics", track, data).query("stage == 'confirm'")
    entries = comparison.of("entries", track, data).query("confirmed")
    if "ece" not in set(found["metric"]):
        return []
    charts = []
    for name in [name for name in CALIBRATION if name in set(found["metric"])]:
        rows = [
            {"entry": row["entry"], "shown": mean_text(row["mean"], row["low"], row["high"])}
            | {part: numeric(row[part]) for part in ("mean", "low", "high")}
            for row in rows_of(found[found["metric"] == name])
        ]
        of_baseline = [row["mean"] for row in rows if row["entry"] in set(entries["entry"][entries["baseline"]])]
        title = f"test {name} (left is better)"
        place = {
            "y": rows_of_entries(entries["entry"], "entry"),
            "color": colour(only(look, rows)),
            "opacity": fade(),
            "tooltip": tooltip(entry="entry", shown=name),
        }
        layers = [across("x", value) for value in of_baseline] + [
            {
                "mark": {"type": "rule", "strokeWidth": 2.5},
                "encoding": place | {"x": measure("low", title), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60},
                "encoding": place | {"x": measure("mean", title), "shape": shape(only(look, rows))},
            },
        ]
        spec = {"title": CALIBRATION[name], "data": {"values": rows}, "transform": [VISIBLE], "layer": layers}
        spec |= in_rows(24, entries["entry"])
        charts.append(Chart(f"{CALIBRATION[name]} of each entry on {data}", "small", spec))
    return charts


def spectra(comparison: Comparison, track: str, data: str, look: Looks) -> list[Chart]:
    """Eigenvalues of each entry's linear operators beside the unit circle, a panel an entry, and the system's own as crosses.

    The operators are real: each eigenvalue is drawn with its conjugate, which need not be among the recorded ones.
    """
    found = comparison.of("spectra", track, data)
    order = [entry for entry in dict.fromkeys(comparison.of("entries", track, data)["entry"]) if entry in set(found["entry"])]
    circle = [
        {"real": numeric(math.cos(angle)), "imag": numeric(math.sin(angle)), "order": angle}
        for angle in np.linspace(0, 2 * math.pi, 73)
    ]
    reach = 1.05 * max(1.0, *found["real"].abs(), *found["imag"].abs()) if order else 1.0
    limits: Spec = {"domain": [-reach, reach], "nice": False}
    place = {"x": measure("real", "real part", **limits), "y": measure("imag", "imaginary part", **limits)}
    charts = []
    for entry in order:
        own = found[found["entry"] == entry]
        own = own.assign(what=own["stage"].where(own["eigenvalue"] != "system", "system"))
        own = pd.concat([own, own.assign(imag=-own["imag"])]).drop_duplicates(["what", "seed", "real", "imag"])
        rows = [
            {"entry": entry, "what": row["what"], "real": numeric(row["real"]), "imag": numeric(row["imag"])}
            | {"shown": f"{row['real']:.4g} {row['imag']:+.4g} i, modulus {math.hypot(row['real'], row['imag']):.4g}"}
            for row in rows_of(own)
        ]
        item = look[entry]
        told = place | {"tooltip": tooltip(entry="entry", what="of", shown="eigenvalue")}
        layers: list[Spec] = [
            {
                "data": {"values": circle},
                "mark": {"type": "line", "color": INK, "strokeWidth": 1, "opacity": 0.6},
                "encoding": place | {"order": {"field": "order"}},
            }
        ]
        for what, mark in (
            ("confirm", {"filled": True, "color": item.colour, "shape": item.mark, "opacity": 0.5, "size": 45}),
            ("tune", {"filled": False, "color": item.colour, "shape": item.mark, "opacity": 1, "size": 55}),
            ("system", {"filled": False, "color": INK, "shape": CROSS, "strokeWidth": 1.5, "opacity": 1, "size": 60}),
        ):
            layers.append(
                {"transform": [{"filter": f"datum.what === '{what}'"}], "mark": {"type": "point"} | mark, "encoding": told}
            )
        spec = {"title": entry, "height": 190, "data": {"values": rows}, "layer": layers}
        charts.append(Chart(f"Eigenvalues of the linear operators of {entry} on {data}", "small", spec))
    return charts
