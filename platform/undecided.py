"""Which comparisons of a sweep that runs until it is decided are open, and why; read from its records alone."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from regbench.platform.inventory.inventory import inventory
from regbench.platform.records.records import study_name
from regbench.platform.verdicts.family import Decision
from regbench.platform.verdicts.table import Side, standings
from regbench.platform.verdicts.units import Design

Row = Mapping[str, Any]
ByStudy = Mapping[str, Mapping[int, Sequence[Row]]]


def undecided(described: Sequence[Mapping[str, Any]], suite: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """The comparisons that are not decided, and why, a line each; the closest to a decision first.

    Args:
        described: the studies of the first replicate, as ``suite.json`` describes them.
        suite: the suite's keys.
        rows: of the trials that have ended.
    """
    by_study: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_study[study_name(row["entry"], row["data"], 0)][row["replicate"] or 0].append(row)
    tables: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for study in described:
        tables[study["track"], study["data"]].append(study)
    found = [item for (track, data), studies in tables.items() for item in _open(track, data, studies, suite, by_study)]
    found.sort(key=lambda item: item[0].distance)
    return [f"not decided: {what}{_why(decision, Design.of(suite))}" for decision, what in found]


def _open(track: str, data: str, studies: Sequence[Row], suite: Mapping[str, Any], rows: ByStudy) -> list[tuple[Decision, str]]:
    """The open comparisons of a table, each with what is compared."""
    known = inventory().tracks
    plain = known[track].baseline if track in known else ""
    beside = [study["entry"] for study in studies if study["method"] == plain]
    if not beside:
        return []
    baseline = plain if plain in beside else beside[0]
    sides = [
        Side(
            study["entry"],
            rows[study_name(study["entry"], data, 0)],
            {"trials": study["trials"], "draws": study.get("draws", study["trials"])},
            bool(suite["confirm"]["ablate"] and study["weights"]),
        )
        for study in studies
    ]
    metric = studies[0]["objectives"][0].removeprefix("val/")
    overlap = max(study.get("overlap", 0.0) for study in studies)
    both = standings(sides, baseline, metric, Design.of(suite), overlap)
    return [
        (standing.decision, f"{entry} on {data} against {against}")
        for against, family in zip((baseline, "its weights off"), both, strict=True)
        for entry, standing in family.items()
        if standing.decision.end == "open"
    ]


def _why(decision: Decision, design: Design) -> str:
    unit = "replicates" if design.by_replicate else "seeds"
    come = f", {decision.units} of at most {design.at_most} {unit}"
    if not math.isfinite(decision.low):
        return come
    return (
        f"{come}: difference {decision.low:+.3g} to {decision.high:+.3g}, p = {decision.p_holm:.2g}, relevant {design.relevant}"
    )
