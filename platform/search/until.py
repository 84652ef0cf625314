"""Which comparisons of a sweep are still open, and what is to be trained for them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regbench.platform.records.records import Stage, study_of
from regbench.platform.suite.plan import Study, baseline_among
from regbench.platform.suite.spec import Suite
from regbench.platform.verdicts.family import Decision, decide
from regbench.platform.verdicts.units import Design, Unit, series, units

Rows = dict[int, list[dict[str, Any]]]


@dataclass(frozen=True)
class Contrast:
    """A comparison: what is trained for a unit of it, and how it stands.

    Attributes:
        sides: the stages that it needs of each study, by the study's name in the first replicate.
        decision: how it stands.
    """

    sides: Mapping[str, tuple[Stage, ...]]
    decision: Decision


class Until:
    """Tells what a sweep that runs until it is decided still needs.

    Args:
        suite: its suite.
        studies: its studies, of the first replicate.
    """

    def __init__(self, suite: Suite, studies: list[Study]) -> None:
        self.design = Design.of(suite.model_dump())
        self._ablate = suite.confirm.ablate
        self._tables: dict[tuple[str, str], list[Study]] = defaultdict(list)
        for study in studies:
            self._tables[study.method.track.name, study.data].append(study)

    def open(self, rows: list[dict[str, Any]]) -> list[Contrast]:
        """The comparisons that are not decided, the closest to a decision first.

        Args:
            rows: of the trials that have ended.
        """
        by_study: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            by_study[study_of(row | {"replicate": 0})][row["replicate"] or 0].append(row)
        found = [contrast for table in self._tables.values() for contrast in self._contrasts(table, by_study)]
        return sorted((c for c in found if c.decision.end == "open"), key=lambda c: c.decision.distance)

    def _contrasts(self, table: list[Study], rows: Mapping[str, Rows]) -> Iterator[Contrast]:
        def units_of(study: Study, stage: str) -> list[Unit]:
            planned = {"trials": study.trials, "draws": study.draws}
            return units(rows[study.name], stage, study.objectives[0].name, self.design, planned)

        confirmed = {study.name: units_of(study, "confirm") for study in table}
        baseline = baseline_among(table)
        if baseline is None or not any(unit.values for unit in confirmed[baseline.name]):
            return
        rules = self.design.rules(confirmed[baseline.name], baseline.overlap)
        others = [study for study in table if study is not baseline]
        against_baseline = {
            study.name: series(confirmed[study.name], confirmed[baseline.name], self.design.first) for study in others
        }
        against_itself = {
            study.name: series(confirmed[study.name], units_of(study, "ablate"), self.design.first)
            for study in table
            if self._ablate and study.method.weights()
        }
        for name, decision in decide(against_baseline, rules).items():
            yield Contrast({name: ("confirm",), baseline.name: ("confirm",)}, decision)
        for name, decision in decide(against_itself, rules).items():
            yield Contrast({name: ("confirm", "ablate")}, decision)
