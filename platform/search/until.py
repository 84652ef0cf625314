"""Which comparisons of a sweep are still open, and what is to be trained for them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regbench.platform.records.records import Stage, study_name
from regbench.platform.suite.plan import Study, baseline_among
from regbench.platform.suite.spec import Suite
from regbench.platform.verdicts.family import Decision
from regbench.platform.verdicts.table import Side, standings
from regbench.platform.verdicts.units import Design


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
        self._design = Design.of(suite.model_dump())
        self._ablate = suite.confirm.ablate
        self._tables: dict[tuple[str, str], list[Study]] = defaultdict(list)
        for study in studies:
            self._tables[study.method.track.name, study.data].append(study)

    def open(self, rows: list[dict[str, Any]]) -> list[Contrast]:
        """The comparisons that are not decided, the closest to a decision first.

        Args:
            rows: of the trials that have ended, refused draws among them.
        """
        by_study: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            by_study[study_name(row["entry"], row["data"], 0)][row["replicate"] or 0].append(row)
        found = [contrast for table in self._tables.values() for contrast in self._contrasts(table, by_study)]
        return sorted((c for c in found if c.decision.end == "open"), key=lambda c: c.decision.distance)

    def _contrasts(self, table: list[Study], rows: Mapping[str, Mapping[int, list[dict[str, Any]]]]) -> Iterator[Contrast]:
        if (baseline := baseline_among(table)) is None:
            return
        sides = [
            Side(
                study.name,
                rows[study.name],
                {"trials": study.trials, "draws": study.draws},
                self._ablate and bool(study.method.weights()),
            )
            for study in table
        ]
        metric = baseline.objectives[0].name
        to_baseline, to_itself = standings(sides, baseline.name, metric, self._design, baseline.overlap)
        for name, standing in to_baseline.items():
            yield Contrast({name: ("confirm",), baseline.name: ("confirm",)}, standing.decision)
        for name, standing in to_itself.items():
            yield Contrast({name: ("confirm", "ablate")}, standing.decision)
