"""The answer of a table in a sentence or two: which regularizer, with which weights, by how much, how sure, at what cost."""

import math

from regbench.platform.comparison.answer import answer, cost_text
from regbench.platform.comparison.frames import Comparison, Row, rows_of
from regbench.platform.comparison.outcomes import kind
from regbench.platform.comparison.text import difference_text, number, p_text

# So many open entries are named with their differences.
CANDIDATES = 3


def headline(comparison: Comparison, track: str, data: str) -> str:
    """Names the winner, or says that nothing helps, that it is not decided, or that nothing can be judged yet."""
    rows = answer(comparison, track, data)
    if not any(row["confirmed"] for row in rows):
        return f"Nothing is confirmed on {data}: there are validation values of tuning trials, and no test results."
    judged = [row for row in rows if row["difference_pairs"] > 0]
    if not judged:
        return f"No confirmed baseline on {data}: means can be read, differences cannot be tested."
    better = [row for row in judged if kind(row["difference_verdict"]) == "good"]
    if better:
        return _winner(better, data)
    if all(kind(row["difference_verdict"]) in ("bad", "same") for row in judged):
        return _nothing_helps(judged, data)
    return _not_decided(judged, data)


def overview(comparison: Comparison, track: str) -> str:
    """What several data sets say together: which entries are better than the baseline on how many, and worse on how many."""
    rows = [row for row in rows_of(comparison.entries) if row["track"] == track]
    places = sorted({row["data"] for row in rows})
    better, worse = _places(rows, "good"), _places(rows, "bad")
    found = sorted(better, key=lambda entry: (-len(better[entry]), len(worse.get(entry, [])), entry))
    if not found:
        return f"On none of {len(places)} data sets is anything shown to be better than the baseline of {track}."
    parts = [
        f"{entry} on {len(better[entry])} ({', '.join(better[entry])})"
        + (f", worse on {len(worse[entry])} ({', '.join(worse[entry])})" if entry in worse else "")
        for entry in found[:CANDIDATES]
    ]
    more = f"; {len(found) - CANDIDATES} more on one or more" if len(found) > CANDIDATES else ""
    return f"Of {len(places)} data sets of {track}, better than the baseline: {'; '.join(parts)}{more}."


def _places(rows: list[Row], wanted: str) -> dict[str, list[str]]:
    """The data sets on which each entry has a verdict of a kind."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if kind(row["difference_verdict"]) == wanted:
            found.setdefault(row["entry"], []).append(row["data"])
    return found


def _winner(better: list[Row], data: str) -> str:
    first, *others = sorted(better, key=_gain, reverse=True)
    said = (
        f"{first['entry']}{_at(first)} is better than {first['compared_with']} on {data}: {_difference(first)} test "
        f"{first['metric']}, {_certainty(first)}{_price(first)}. {_of_its_weights(first)}"
    )
    if not others:
        return said
    more = "; ".join(f"{row['entry']}{_at(row)}, {_difference(row)}" for row in others)
    return f"{said} Also better: {more}."


def _at(row: Row) -> str:
    return f" with {', '.join(row['weights'])}" if row["weights"] else ""


def _certainty(row: Row) -> str:
    """How sure: the p-value where there is a test, over how many units, and by which design."""
    if row["difference_verdict"] != "better":
        return f"{row['difference_verdict'].removeprefix('better ')}, over {row['units_text']}"
    valid = "Holm-corrected" if row["design"] == "fixed" else "valid whenever one stops"
    p = p_text(row["difference_p_holm"])
    return f"p {p.replace('<', '< ') if p.startswith('<') else f'= {p}'} ({valid}) over {row['units_text']}"


def _price(row: Row) -> str:
    return "" if math.isnan(row["cost"]) else f", at {cost_text(row['cost'])} the cost of training"


def _of_its_weights(row: Row) -> str:
    """Whether the gain is the weights' own, or may come from what else was tuned."""
    match kind(row["ablation_verdict"]):
        case "good":
            return f"Its weights help by themselves: {_difference(row, 'ablation')} against the same with them off."
        case "bad" | "same":
            return f"But not by its weights: switched off, the difference is {_difference(row, 'ablation')}."
        case "open":
            return f"That its weights do it is not shown: {_difference(row, 'ablation')} against the same with them off."
    return "Whether its weights do it was not measured." if row["ablation_verdict"] == "not ablated" else ""


def _nothing_helps(judged: list[Row], data: str) -> str:
    margin = f" (within ±{number(judged[0]['relevant'])})" if judged[0]["relevant"] > 0 else ""
    words = {"worse": "worse than it", "equivalent": f"equivalent to it{margin}", "identical": "identical with it"}
    found = {word: [row for row in judged if row["difference_verdict"].startswith(word)] for word in words}
    told = "; ".join(f"{words[word]}: {_names(rows)}" for word, rows in found.items() if rows)
    return f"Nothing helps on {data} beside {judged[0]['compared_with']}, over {_units(judged)}; {told}."


def _not_decided(judged: list[Row], data: str) -> str:
    """What may still be better, the largest difference first; what is known to be worse."""
    still = [row for row in judged if kind(row["difference_verdict"]) not in ("bad", "same")]
    still.sort(key=_gain, reverse=True)
    told = ", ".join(f"{row['entry']} {_difference(row)}" for row in still[:CANDIDATES])
    more = f" and {len(still) - CANDIDATES} more" if len(still) > CANDIDATES else ""
    worse = f" Worse: {_names(_worse(judged))}." if _worse(judged) else ""
    return (
        f"Not decided on {data}: over {_units(judged)}, nothing is shown to be better than {judged[0]['compared_with']}; "
        f"open in test {judged[0]['metric']}: {told}{more}.{worse}"
    )


def _worse(rows: list[Row]) -> list[Row]:
    return [row for row in rows if kind(row["difference_verdict"]) == "bad"]


def _names(rows: list[Row]) -> str:
    return ", ".join(row["entry"] for row in rows)


def _units(rows: list[Row]) -> str:
    """Over how many seeds or replicates: ``5 seeds``, ``8 to 20 seeds``."""
    counts = sorted({row["units"] for row in rows})
    return rows[0]["units_text"] if len(counts) == 1 else f"{counts[0]} to {counts[-1]} {rows[0]['unit']}s"


def _gain(row: Row) -> float:
    """The difference to the baseline, counted so that more is better."""
    return row["difference_value"] if row["mode"] == "max" else -row["difference_value"]


def _difference(row: Row, of: str = "difference") -> str:
    return difference_text(row[f"{of}_value"], row[f"{of}_low"], row[f"{of}_high"])
