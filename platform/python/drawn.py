"""Charts of a comparison in a notebook: the report's, as SVG."""

from collections.abc import Callable
from pathlib import Path

from regbench.methods.errors import ConfigError, nearest
from regbench.platform.comparison import result_charts, tuning_charts
from regbench.platform.comparison.charts import Chart, standalone
from regbench.platform.comparison.frames import Comparison
from regbench.platform.comparison.looks import Looks, looks

Draw = Callable[[Comparison, str, str, Looks], list[Chart]]


class Drawing:
    """A chart that a notebook shows.

    Attributes:
        svg: as text.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": "a chart of regbench"}

    def save(self, file: str | Path) -> None:
        """Writes it as an SVG file."""
        Path(file).write_text(self.svg, encoding="utf-8")


class Plots:
    """The charts of a comparison, each of one data set.

    Args:
        comparison: what is drawn.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def forest(self, data: str | None = None) -> Drawing:
        """Differences to the baseline with their simultaneous intervals."""
        return self._drawn(result_charts.forest, data, 1)

    def curves(self, data: str | None = None) -> Drawing:
        """Validation curves of the confirmed configurations."""
        return self._drawn(result_charts.curves, data, 2)

    def sensitivity(self, data: str | None = None) -> Drawing:
        """The objective over each searched setting."""
        return self._drawn(tuning_charts.sensitivity, data, 3)

    def _drawn(self, draw: Draw, data: str | None, columns: int) -> Drawing:
        charts = draw(self._comparison, *place(self._comparison, data), looks(self._comparison.entries["entry"]))
        if not charts:
            raise ConfigError("there is nothing to draw: nothing of that kind has been trained")
        return Drawing(standalone(charts, columns))


def place(comparison: Comparison, data: str | None) -> tuple[str, str]:
    """The track and data set that are meant: those of that name, by default the only ones.

    Raises:
        ConfigError: there is none of that name, or several, and none is named.
    """
    places = [(track, name) for track, name in comparison.tables() if data in (None, name)]
    names = [name for _, name in comparison.tables()]
    if not places:
        raise ConfigError(
            f"no data set '{data}' here; {nearest(str(data), names)}" if names else "nothing has been trained yet"
        )
    if len(places) > 1:
        raise ConfigError(f"there are several data sets: say which, data='{places[0][1]}' or another of {', '.join(names)}")
    return places[0]
