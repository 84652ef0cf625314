"""How the comparisons of a table stand that is run until it is decided: told by the rows of its trials alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regbench.platform.verdicts.family import Decision, Series, decide, settle
from regbench.platform.verdicts.units import Design, Rows, barren, series, units


@dataclass(frozen=True)
class Side:
    """An entry on a data set.

    Attributes:
        name: tells it from the others of its table.
        rows: of its trials that have ended, by replicate.
        planned: ``trials`` and ``draws`` of a study of it.
        ablated: whether it is trained with its weights off, too.
    """

    name: str
    rows: Mapping[int, Rows]
    planned: Mapping[str, Any]
    ablated: bool


@dataclass(frozen=True)
class Standing:
    """How a comparison stands, and the differences that have been seen; more than count where some were trained ahead."""

    decision: Decision
    series: Series

    @property
    def differences(self) -> list[float]:
        """The differences that count, unit by unit; nan for a unit that one side has lost."""
        return list(self.series.differences[: self.decision.units])


def standings(
    sides: Sequence[Side], baseline: str, metric: str, design: Design, overlap: float
) -> tuple[dict[str, Standing], dict[str, Standing]]:
    """How each entry of a table stands against the baseline, and against itself with its weights off.

    Args:
        sides: the entries, the baseline among them.
        baseline: its name.
        metric: name of the test metric.
        design: of the sweep.
        overlap: share of the rows behind the data set that each split tests on, where splits overlap, and else 0.

    Returns:
        Both by name; nothing where the baseline has no result, since there is nothing to compare with.
    """
    # What could not be tuned has nothing to compare; a replicate in which that happens is a lost unit.
    sides = [side for side in sides if design.by_replicate or not barren(side.rows.get(0, ()), side.planned)]
    confirmed = {side.name: units(side.rows, "confirm", metric, design, side.planned) for side in sides}
    if not any(unit.values for unit in confirmed.get(baseline, ())):
        return {}, {}
    rules = design.rules(confirmed[baseline], overlap)
    against_baseline = {
        side.name: series(confirmed[side.name], confirmed[baseline], design.first) for side in sides if side.name != baseline
    }
    against_itself = {
        side.name: series(confirmed[side.name], units(side.rows, "ablate", metric, design, side.planned), design.first)
        for side in sides
        if side.ablated
    }
    first, second = decide(against_baseline, rules), decide(against_itself, rules)
    # An entry has as many units as the longer of its comparisons took, the baseline as the longest of all.
    counted = {side.name: max((d[side.name].units for d in (first, second) if side.name in d), default=0) for side in sides}
    of_baseline = max([counted[baseline], *(decision.units for decision in first.values())])
    first = settle(against_baseline, first, {name: min(counted[name], of_baseline) for name in first}, rules)
    return _standings(first, against_baseline), _standings(second, against_itself)


def _standings(decisions: Mapping[str, Decision], family: Mapping[str, Series]) -> dict[str, Standing]:
    return {name: Standing(decision, family[name]) for name, decision in decisions.items()}
