"""Why comparisons of a sweep that runs until it is decided are open, in words; read from its records alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from regbench.platform.inventory.inventory import inventory
from regbench.platform.verdicts.contrasts import Contrast, open_contrasts
from regbench.platform.verdicts.units import Design


def undecided(described: Sequence[Mapping[str, Any]], suite: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The comparisons that are not decided, and why, a line each; the closest to a decision first.

    Args:
        described: the studies of the first replicate, as ``suite.json`` describes them.
        suite: the suite's keys.
        rows: of the trials that have ended.
    """
    plain = {track.name: track.baseline for track in inventory().tracks.values()}
    return [_line(contrast, Design.of(suite)) for contrast in open_contrasts(described, suite, rows, plain)]


def _line(contrast: Contrast, design: Design) -> str:
    decision = contrast.decision
    against = contrast.baseline or "its weights off"
    line = f"not decided: {contrast.entry} on {contrast.data} against {against}, {decision.units} of at most {design.at_most} "
    line += f"{design.unit_name}s"
    if not math.isfinite(decision.low):
        return line
    ends = f"{decision.low:+.3g} to {decision.high:+.3g}"
    return f"{line}: difference {ends}, p = {decision.p_holm:.2g}, relevant {design.relevant}"
