"""A comparison as text: numbers with their uncertainty, and tables for a terminal of 100 columns."""

import math
from collections.abc import Iterable

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regbench.platform.comparison.answer import answer, intervals_text, judged_text, variance_text
from regbench.platform.comparison.frames import Comparison, rows_of
from regbench.platform.comparison.headline import headline, overview
from regbench.platform.comparison.outcomes import kind
from regbench.platform.comparison.text import difference_text, mean_text, number, p_text

STYLES = {"good": "green", "bad": "red", "same": "blue", "open": "dim", "baseline": "bold", "none": "dim"}


def terminal(comparison: Comparison) -> RenderableType:
    """Everything that a terminal shows of a comparison: for each table its answer in words and row by row, then the rest."""
    parts: list[RenderableType] = []
    for track, data in comparison.tables():
        table = comparison.of("entries", track, data)
        parts += [Text(headline(comparison, track, data), style="bold"), Text()]
        if table["confirmed"].any():
            parts.append(answers(comparison, track, data))
        if not table["confirmed"].all():
            parts.append(unconfirmed(comparison, track, data))
        told = [variance_text(comparison, track, data), *notes(comparison, track, data)]
        parts += [Text(f"• {line}", style="dim") for line in told if line]
        parts.append(Text())
    for track in comparison.friedman["track"]:
        parts += [Text(overview(comparison, track), style="bold"), Text(), over_data_sets(comparison, track)]
    parts += [Text(f"• {line}", style="dim") for line in comparison.notes["note"][comparison.notes["data"] == ""]]
    return Group(*parts) if parts else Text("no trial has ended yet: nothing to compare")


def notes(comparison: Comparison, track: str, data: str) -> list[str]:
    """The notes of a table, each with the names of the entries in front that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows_of(comparison.of("notes", track, data)):
        about.setdefault(row["note"], []).append(row["entry"])
    return [f"{', '.join(entries)}: {note}" if any(entries) else note for note, entries in about.items()]


def answers(comparison: Comparison, track: str, data: str) -> Table:
    """The confirmed entries of a track on a data set, best first: weights, mean, differences, verdicts, cost, seeds."""
    rows = [row for row in answer(comparison, track, data) if row["confirmed"]]
    table = _table(
        f"{track} on {data}: {judged_text(rows[0])}",
        f"±: 95 % t interval; [ ]: {intervals_text(rows[0])}; effect of its weights: "
        "against itself with them off; cost: time of a training, the baseline's is 1",
    )
    table.padding = (0, 0)
    table.add_column("entry\nand tuned weights", overflow="fold", min_width=min(20, max(len(row["entry"]) for row in rows)))
    for name in ("mean", "difference\nto baseline"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=13)
    table.add_column("effect of\nits weights", min_width=15)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column(f"{rows[0]['unit']}s", justify="right", min_width=5)
    for row in rows:
        effect = difference_text(row["ablation_value"], row["ablation_low"], row["ablation_high"]).partition("[")[0].strip(" –")
        table.add_row(
            Text("\n").join([Text(row["entry"]), *(Text(weight, style="cyan") for weight in row["weights"])]),
            mean_text(row["mean"], row["low"], row["high"]).replace(" ±", "\n±"),
            difference_text(row["difference_value"], row["difference_low"], row["difference_high"]).replace(" [", "\n["),
            _verdict(row["difference_verdict"]),
            Text(" ").join(filter(None, [Text(effect), _verdict(row["ablation_verdict"])])),
            row["cost_text"],
            f"{row['units']}" if row["unit"] == "seed" else f"{row['units']}\n({row['seeds']} seeds)",
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
    return Text(text, style=STYLES[kind(text)])


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
