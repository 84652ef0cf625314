"""Which comparisons of a sweep that runs until it is decided are open: told by its description and the rows of its trials."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regbench.platform.records.records import Stage, study_name
from regbench.platform.verdicts.family import Decision
from regbench.platform.verdicts.table import Side, standings
from regbench.platform.verdicts.units import Design

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Contrast:
    """A comparison of an entry on a data set.

    Attributes:
        entry: the entry.
        baseline: the entry that it is compared with; None: itself, with its weights off.
        data: the data set.
        decision: how it stands.
    """

    entry: str
    baseline: str | None
    data: str
    decision: Decision

    @property
    def stages(self) -> dict[str, tuple[Stage, ...]]:
        """The stages that a unit of it needs of each study, by the study's name in the first replicate."""
        own = study_name(self.entry, self.data, 0)
        if self.baseline is None:
            return {own: ("confirm", "ablate")}
        return {own: ("confirm",), study_name(self.baseline, self.data, 0): ("confirm",)}


def open_contrasts(
    described: Sequence[Row], suite: Mapping[str, Any], rows: Sequence[Row], plain: Mapping[str, str]
) -> list[Contrast]:
    """The comparisons that are not decided, the closest to a decision first.

    Args:
        described: the studies of the first replicate, as ``suite.json`` describes them.
        suite: the suite's keys.
        rows: of the trials that have ended, refused draws among them.
        plain: slug of the method with which others are compared, by track.
    """
    tables: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for study in described:
        tables[study["track"], study["data"]].append(study)
    by_study: dict[tuple[str, str], dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_study[row["entry"], row["data"]][row["replicate"] or 0].append(row)
    found = [
        contrast
        for (track, _), studies in tables.items()
        for contrast in _contrasts(studies, suite, by_study, plain.get(track, ""))
        if contrast.decision.end == "open"
    ]
    return sorted(found, key=lambda contrast: contrast.decision.distance)


def _contrasts(
    studies: Sequence[Row],
    suite: Mapping[str, Any],
    rows: Mapping[tuple[str, str], Mapping[int, Sequence[Row]]],
    plain: str,
) -> Iterator[Contrast]:
    """The comparisons of a table."""
    beside = [study["entry"] for study in studies if study["method"] == plain]
    if not beside:
        return
    # An entry called as the baseline's slug is the plain one; others of that method are variants of it.
    baseline = plain if plain in beside else beside[0]
    data, metric = studies[0]["data"], studies[0]["objectives"][0].removeprefix("val/")
    sides = [
        Side(study["entry"], rows[study["entry"], data], study, bool(suite["confirm"]["ablate"] and study["weights"]))
        for study in studies
    ]
    against_baseline, against_itself = standings(sides, baseline, metric, Design.of(suite), studies[0].get("overlap", 0.0))
    for entry, standing in against_baseline.items():
        yield Contrast(entry, baseline, data, standing.decision)
    for entry, standing in against_itself.items():
        yield Contrast(entry, None, data, standing.decision)
