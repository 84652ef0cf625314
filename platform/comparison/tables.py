"""A comparison as text: numbers with their uncertainty, and tables for a terminal of 100 columns."""

import math
from collections.abc import Iterable

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regbench.platform.comparison.frames import Comparison, rows_of
from regbench.platform.comparison.text import NONE, difference_text, direction, mean_text, number, p_text

STYLES = {"better": "green", "helps": "green", "worse": "red", "hurts": "red", "baseline": "bold"}


def seeds_text(table: pd.DataFrame) -> str:
    """How many seeds the confirmed entries of a table have: ``5 seeds``, ``4 to 5 seeds``."""
    counts = sorted(set(table["n"][table["confirmed"]]))
    if not counts:
        return "no seeds"
    return "1 seed" if counts == [1] else f"{' to '.join(map(str, sorted({counts[0], counts[-1]})))} seeds"


def terminal(comparison: Comparison) -> RenderableType:
    """Everything that a terminal shows of a comparison, one table after the other."""
    parts: list[RenderableType] = []
    for track, data in comparison.tables():
        table = comparison.of("entries", track, data)
        if table["confirmed"].any():
            parts.append(ranking(comparison, track, data))
        if (table["ablation_pairs"] > 0).any():
            parts.append(ablation(comparison, track, data))
        if not table["confirmed"].all():
            parts.append(unconfirmed(comparison, track, data))
        parts += [Text(f"• {line}", style="dim") for line in notes(comparison, track, data)]
        parts.append(Text())
    for track in comparison.friedman["track"]:
        parts.append(over_data_sets(comparison, track))
    parts += [Text(f"• {line}", style="dim") for line in comparison.notes["note"][comparison.notes["data"] == ""]]
    return Group(*parts) if parts else Text("no trial has ended yet: nothing to compare")


def notes(comparison: Comparison, track: str, data: str) -> list[str]:
    """The notes of a table, each with the names of the entries in front that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows_of(comparison.of("notes", track, data)):
        about.setdefault(row["note"], []).append(row["entry"])
    return [f"{', '.join(entries)}: {note}" if any(entries) else note for note, entries in about.items()]


def ranking(comparison: Comparison, track: str, data: str) -> Table:
    """The confirmed entries of a track on a data set, best first, each against the baseline."""
    entries = comparison.of("entries", track, data)
    first = entries.iloc[0]
    table = _table(
        f"{track} on {data}: test {first['metric']} ({direction(first['mode'])}), {seeds_text(entries)}",
        "±, [ ]: 95 % t intervals over seeds; differences paired by seed; p: paired t test, Holm-corrected",
    )
    _add_entries(table, entries["entry"])
    for name in ("mean", "rank", "difference to baseline", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=13)
    for row in rows_of(entries[entries["confirmed"]]):
        table.add_row(
            Text(row["entry"]),
            mean_text(row["mean"], row["low"], row["high"]),
            NONE if math.isnan(row["rank"]) else f"{row['rank']:.1f}",
            difference_text(row["difference_value"], row["difference_low"], row["difference_high"]),
            p_text(row["difference_p_holm"]),
            _verdict(row["difference_verdict"]),
        )
    return table


def ablation(comparison: Comparison, track: str, data: str) -> Table:
    """What the weights themselves do: each confirmed configuration against the same with every weight off."""
    entries = comparison.of("entries", track, data)
    metrics = comparison.of("metrics", track, data)
    off = metrics[(metrics["stage"] == "ablate") & (metrics["metric"] == entries.iloc[0]["metric"])].set_index("entry")
    table = _table(f"{track} on {data}: the same configuration with its weights off", "")
    _add_entries(table, entries["entry"])
    for name in ("weights off", "effect of the weights", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=13)
    for row in rows_of(entries[entries["ablation_pairs"] > 0]):
        table.add_row(
            Text(row["entry"]),
            mean_text(*off.loc[row["entry"], ["mean", "low", "high"]]),
            difference_text(row["ablation_value"], row["ablation_low"], row["ablation_high"]),
            p_text(row["ablation_p_holm"]),
            _verdict(row["ablation_verdict"]),
        )
    return table


def unconfirmed(comparison: Comparison, track: str, data: str) -> Table:
    """Entries without a confirmation: the validation value of the best tuning trial, which is not a test result."""
    entries = comparison.of("entries", track, data)
    table = _table(
        f"{track} on {data}: NOT CONFIRMED, validation only",
        "value of the best of all tuning trials on validation data: optimistic, and not a test result",
    )
    _add_entries(table, entries["entry"])
    table.add_column(f"best {entries.iloc[0]['tuned_metric']}", justify="right")
    table.add_column("trials (completed / stopped / failed)", justify="right")
    for row in rows_of(entries[~entries["confirmed"]]):
        table.add_row(
            Text(row["entry"]), number(row["tuned_value"]), f"{row['completed']} / {row['stopped']} / {row['failed']}"
        )
    return table


def over_data_sets(comparison: Comparison, track: str) -> Table:
    """Average ranks of a track's entries over its data sets."""
    row = comparison.friedman[comparison.friedman["track"] == track].iloc[0]
    table = _table(f"{track}: average ranks over {row['data_sets']} data sets", friedman_text(row))
    _add_entries(table, comparison.ranks["entry"])
    table.add_column("average rank", justify="right")
    for entry in rows_of(comparison.ranks[comparison.ranks["track"] == track]):
        table.add_row(Text(entry["entry"]), f"{entry['rank']:.2f}")
    return table


def friedman_text(row: pd.Series) -> str:
    """The Friedman test of a track and Nemenyi's critical difference, in a sentence."""
    critical = f"ranks closer than {row['critical_difference']:.2f} are not told apart (Nemenyi, 5 %)"
    if math.isnan(row["p"]):
        return critical
    return f"Friedman χ² = {row['statistic']:.2f}, p = {p_text(row['p'])}; {critical}"


def _add_entries(table: Table, names: Iterable[str]) -> None:
    """The column of entries, wide enough for their names up to 22 characters; longer ones are folded."""
    table.add_column("entry", overflow="fold", min_width=min(22, max(map(len, names))))


def _verdict(text: str) -> Text:
    return Text(text, style=STYLES.get(text.partition(" by")[0], ""))


def _table(title: str, caption: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        caption=Text(caption, style="dim") if caption else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        # A title is not to be broken because its table is narrow.
        min_width=min(len(title) + 2, 96),
    )
