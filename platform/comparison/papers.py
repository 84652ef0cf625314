"""One row a paper's method: what was measured of the paper's own claim, and what that says of the claim."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from regbench.platform.comparison.effects import Claim, Effect, claims, effects_of
from regbench.platform.comparison.text import difference_text
from regbench.platform.inventory.inventory import inventory

Finding = Literal["as claimed", "equivalent", "not shown", "opposite"]
FINDINGS: tuple[Finding, ...] = ("as claimed", "equivalent", "not shown", "opposite")
LEGEND = (
    "effect: difference to the opponent that the claim names, with its 95 % interval, ↑ where the paper claims more, ↓ where "
    "less; as claimed / opposite: a difference is confirmed in that direction or in the other; cost: of a training, in "
    "those of the baseline"
)


@dataclass(frozen=True)
class Headline:
    """The headline claim of a method's paper, beside what was measured of it.

    Attributes:
        slug: the method.
        claim: of the paper.
        row: the measured effect.
        finding: what that says of the claim.
    """

    slug: str
    claim: Claim
    row: Effect
    finding: Finding

    @property
    def standardized(self) -> tuple[float, float, float]:
        """The difference in standard deviations of the paired differences, and its interval: positive as claimed."""
        sign = 1 if self.claim.direction == "higher" else -1
        row, value = self.row, self.row["standardized"]
        if not value or math.isnan(value):
            return value, math.nan, math.nan
        sd = row["difference"] / value
        low, high = sorted(sign * end / sd for end in (row["difference_low"], row["difference_high"]))
        return sign * value, low, high


def headline_claim(slug: str) -> Claim:
    """The claim that stands for a method: its only one, or the one that is marked."""
    found = claims()[slug]
    return found[0] if len(found) == 1 else next(claim for claim in found if claim.headline)


def on_claim(verdict: str, difference: float, direction: str) -> Finding:
    """What a measured difference says of a claim.

    Args:
        verdict: of the comparison, in words.
        difference: of the method to the opponent that the claim names.
        direction: in which the claim wants it: ``higher`` or ``lower``.
    """
    if verdict == "equivalent":
        return "equivalent"
    if verdict not in ("better", "worse"):
        return "not shown"
    return "as claimed" if (difference > 0) == (direction == "higher") else "opposite"


def headlines() -> list[Headline]:
    """Every headline claim that was measured: those that hold first, and of those the largest standardized effect."""
    found = []
    for slug in claims():
        claim = headline_claim(slug)
        for row in effects_of(slug, claim):
            if row["metric"] == claim.metric and row["against"] == _opponent(slug, claim):
                found.append(Headline(slug, claim, row, on_claim(row["verdict"], row["difference"], claim.direction)))
    return sorted(found, key=lambda headline: (FINDINGS.index(headline.finding), -_finite(headline.standardized[0])))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _opponent(slug: str, claim: Claim) -> str:
    """The name of the claim's opponent in the measured rows, of which the first is against the baseline."""
    return str(effects_of(slug, claim)[0]["against"]) if claim.against == "baseline" else claim.against


def effect_text(headline: Headline) -> str:
    """The metric with the direction of the claim, the difference with its interval, and to what."""
    row = headline.row
    difference = difference_text(row["difference"], row["difference_low"], row["difference_high"])
    return f"{_metric(headline)} {difference} to {row['against']}"


def _metric(headline: Headline) -> str:
    return f"{headline.claim.metric} {'↑' if headline.claim.direction == 'higher' else '↓'}"


def cost_text(row: Effect) -> str:
    """What a training costs, as a multiple of the baseline's; empty where that was not measured."""
    return "" if math.isnan(row["cost"]) else f"× {row['cost']:.3g}"


def headlines_table(shown: Iterable[Headline]) -> Table:
    """The headline claims in the terminal, in three lines each: 100 columns do."""
    table = Table(header_style="dim", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_lines=True)
    columns = {"method on what": 29, "effect on the claim": 26, "weights": 7, "verdict, design": 12, "cost, paper": 10}
    for name, least in columns.items():
        table.add_column(name, overflow="fold", min_width=least)
    for headline in shown:
        row, facts = headline.row, inventory().method(headline.slug)
        difference = difference_text(row["difference"], row["difference_low"], row["difference_high"])
        table.add_row(
            Text.assemble((headline.slug, "bold"), f"\n{facts.track},\n{row['data']}"),
            f"{difference}\n{_metric(headline)}\nto {row['against']}",
            row["weights"].replace(", ", "\n"),
            f"{headline.finding}\n{row['design']}",
            f"{cost_text(row)}\n{_identifier(facts.source)}",
        )
    return table


def _identifier(source: str) -> str:
    """The arXiv identifier of a paper, or else its year."""
    return source.rpartition("arXiv:")[2] if "arXiv:" in source else source.rpartition(" ")[2]
