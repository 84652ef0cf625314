"""A drawing is smaller in a page, and looks the same."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import vl_convert
from PIL import Image

from regbench.platform.comparison.slim import slim

SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "width": 200,
    "height": 120,
    "data": {"values": [{"x": x, "y": x**2 % 7, "kind": "ab"[x % 2]} for x in range(1, 12)]},
    "mark": {"type": "point", "filled": True, "clip": True},
    "encoding": {
        "x": {"field": "x", "type": "quantitative", "title": "<x> & more", "scale": {"type": "log"}},
        "y": {"field": "y", "type": "quantitative"},
        "color": {"field": "kind", "type": "nominal"},
        "opacity": {"condition": {"test": "datum.kind === 'a'", "value": 0.3}, "value": 1},
    },
    "config": {"font": "DejaVu Sans"},
}


def pixels(svg):
    image = Image.open(io.BytesIO(vl_convert.svg_to_png(svg))).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image), dtype=float)[..., :3]


def test_a_slim_drawing_looks_the_same():
    drawn = vl_convert.vegalite_to_svg(SPEC)
    small = slim(drawn, "one", "a label")
    assert len(small) < len(drawn) / 2
    # In a page, both are told by the page.
    alone = small.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="DejaVu Sans" ', 1)
    assert np.abs(pixels(drawn) - pixels(alone)).mean() < 0.6
    assert np.abs(pixels(drawn) - 255).mean() > 5


def test_ids_are_its_own_and_what_refers_to_them_follows():
    small = slim(vl_convert.vegalite_to_svg(SPEC), "one", "<a> & b")
    ids = re.findall(r'\bid="([^"]+)"', small)
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", small)) <= set(ids)
    root = ElementTree.fromstring(small)
    assert root.get("aria-label") == "<a> & b"
    assert "<x> & more" in "".join(root.itertext())
