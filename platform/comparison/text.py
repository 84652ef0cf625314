"""Numbers of a comparison as text: with their uncertainty, and with as many digits as that bears."""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

NONE = "–"
MOST_DECIMALS = 6


def decimals(half_width: float) -> int | None:
    """Decimals that show a half-width with two significant digits; 4 where there is none, None where it would take too many."""
    if not math.isfinite(half_width) or half_width <= 0:
        return 4
    places = max(0, 1 - math.floor(math.log10(half_width)))
    return places if places <= MOST_DECIMALS else None


def number(value: float) -> str:
    """A number with four significant digits; a dash for nan."""
    return NONE if math.isnan(value) else f"{value:.4g}"


def mean_text(mean: float, low: float, high: float) -> str:
    """``mean ± half-width`` of its interval, both with as many decimals as the half-width bears; the mean alone without one."""
    if math.isnan(low):
        return number(mean)
    half_width = (high - low) / 2
    places = decimals(half_width)
    return f"{mean:.4g} ± {half_width:.1e}" if places is None else f"{mean:.{places}f} ± {half_width:.{places}f}"


def difference_text(value: float, low: float, high: float) -> str:
    """``+value [low, high]``, signed; the value alone without an interval."""
    if math.isnan(value):
        return NONE
    if math.isnan(low):
        return _minus(f"{value:+.4g}")
    places = decimals((high - low) / 2)
    shown = "+.2e" if places is None else f"+.{places}f"
    return _minus(f"{value:{shown}} [{low:{shown}}, {high:{shown}}]")


def _minus(text: str) -> str:
    """With minus signs as wide as the plus signs."""
    return text.replace("-", "−")


def p_text(p: float) -> str:
    """A p-value with two significant digits, never as zero."""
    if math.isnan(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if math.isnan(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def configuration_text(configuration: str) -> str:
    """The searched settings (JSON) as ``name=value`` pairs."""
    values = json.loads(configuration)
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items()) or NONE


def weights_text(weights: Sequence[Mapping[str, Any]]) -> str:
    """An entry's tuned weights as ``symbol = value``; over several replicates their median and, in brackets, their range.

    Args:
        weights: the entry's rows of the table ``weights``.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in weights:
        found.setdefault(row["setting"], []).append(row)
    return ", ".join(f"{rows[0]['symbol'] or name} = {_over_replicates(rows)}" for name, rows in found.items()) or NONE


def _over_replicates(rows: Sequence[Mapping[str, Any]]) -> str:
    numbers = sorted(row["number"] for row in rows)
    if any(map(math.isnan, numbers)):
        return " or ".join(dict.fromkeys(str(row["value"]) for row in rows))
    middle, low, high = (f"{value:.3g}" for value in (median(numbers), numbers[0], numbers[-1]))
    return middle if low == high else f"{middle} ({low} to {high})"


def direction(mode: str) -> str:
    """What is good, in words."""
    return {"max": "higher is better", "min": "lower is better"}.get(mode, "")
