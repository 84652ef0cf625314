"""What was measured of hidden representations: over training, and whether it foretells how well a trial ends."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import spearmanr

from regbench.methods.diagnostics import PREFIX
from regbench.platform.comparison.candidates import Candidate
from regbench.platform.comparison.frames import Row

# A rank correlation of fewer trials says nothing.
FEWEST = 5


def diagnostics(groups: Mapping[tuple[str, str], list[Candidate]]) -> list[Row]:
    """Curves of all diagnostics of the confirmation trials."""
    found: list[Row] = []
    for (track, data), candidates in groups.items():
        for c in candidates:
            confirming = {row["key"]: row["seed"] for row in c.stage("confirm", "completed")}
            table = c.source.curves
            keep = pc.and_(
                pc.is_in(table["key"], pa.array(list(confirming), "string")), pc.starts_with(table["metric"], PREFIX)
            )
            found += [
                {"track": track, "data": data, "entry": c.label, "diagnostic": row["metric"].removeprefix(PREFIX)}
                | {"seed": confirming[row["key"]], "round": row["round"], "value": row["value"]}
                for row in table.filter(keep).select(["key", "metric", "round", "value"]).to_pylist()
            ]
    return found


def predictors(candidates: list[Candidate]) -> Iterable[Row]:
    """Spearman's rank correlation of each diagnostic with the objective, where fully trained tuning trials ended.

    Of each entry's trials, and where several entries have some, of all together (entry ""). Positive: the larger the
    diagnostic, the better; where the objective is to be small, its sign is turned.
    """
    pools = {c.label: [row for row in c.stage("tune", "completed") if row["values"] and not row["learned"]] for c in candidates}
    measured = {label: rows for label, rows in pools.items() if any(_found(row) for row in rows)}
    if len(measured) > 1:
        measured[""] = [row for rows in measured.values() for row in rows]
    for label, rows in measured.items():
        for name in sorted({name for row in rows for name in _found(row)}):
            pairs = [(row["metrics"][name], row["values"][0], row) for row in rows if name in row["metrics"]]
            first = pairs[0][2]
            same = [(x, y) for x, y, row in pairs if row["objectives"][0] == first["objectives"][0]]
            if len(same) < FEWEST or any(len(set(column)) == 1 for column in zip(*same, strict=True)):
                continue
            result: Any = spearmanr(*zip(*same, strict=True))
            sign = -1 if first["modes"][0] == "min" else 1
            yield {
                "entry": label,
                "diagnostic": name.removeprefix(PREFIX),
                "objective": first["objectives"][0],
                "trials": len(same),
                "correlation": sign * float(result.statistic),
                "p": float(result.pvalue),
            }


def _found(row: Row) -> list[str]:
    return [name for name, value in row["metrics"].items() if name.startswith(PREFIX) and math.isfinite(value)]
