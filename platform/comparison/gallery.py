"""The charts of a page: each drawn once into it, and kept for the scripts that draw it again."""

import base64
import gzip
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import vl_convert
from markupsafe import Markup

from regbench.platform.comparison.charts import Chart, Spec

# So many characters of drawings stand in a page; after that, all but the main ones are left to its scripts. Thirty entries on
# six data sets reach it: their page has 2.2 MB.
ROOM = 900_000


class Gallery:
    """Draws charts into a page; ``packed`` is what its scripts need to draw them again."""

    def __init__(self) -> None:
        self._live: list[Spec] = []
        self._used = 0

    def show(self, draw: Callable[..., list[Chart]], *arguments: Any, main: bool = False) -> Markup:
        """The charts that a function makes of these arguments; what cannot be drawn costs itself and a line, never the page."""
        try:
            return Markup("").join(self._shown(chart, main) for chart in draw(*arguments))
        except Exception as error:
            return Markup("<p>not drawn: {}</p>").format(f"{type(error).__name__}: {error}")

    def _shown(self, chart: Chart, main: bool) -> Markup:
        number = len(self._live)
        if chart.scripted or (self._used > ROOM and not main):
            drawn = Markup('<p class="explained without-scripts">Drawn by scripts: {}.</p>').format(chart.label)
        else:
            drawn = Markup(chart.svg(f"chart{number}"))
        self._used += len(drawn)
        self._live.append(chart.live)
        start = Markup('<div class="chart {}" data-chart="{}"').format(chart.size, number)
        owner = Markup(' data-entry="{}"').format(chart.entry) if chart.entry else Markup("")
        return start + owner + Markup(">") + drawn + Markup("</div>\n")

    @property
    def packed(self) -> str:
        """The library and all specifications as JSON, compressed, in Base64: a third of their size."""
        content = json.dumps({"library": _library(), "charts": self._live}, ensure_ascii=False, allow_nan=False)
        return base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, as vl-convert ships them."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
