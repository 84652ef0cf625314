"""What each method is worth on its small benchmark, beside what its paper claims: measured once, and kept with the code."""

import csv
import io
import math
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regbench.methods.strict import Strict
from regbench.platform.comparison.text import difference_text, mean_text, p_text

FOLDER = "regbench.effects"
Effect = dict[str, Any]
COLUMNS = [
    "method", "suite", "data", "metric", "mode", "entry", "against", "weights", "design", "unit", "units", "seeds",
    "mean", "low", "high", "other_mean", "difference", "difference_low", "difference_high", "standardized", "p", "verdict",
    "relevant", "cost",
]  # fmt: skip
"""Of the measured effects: a row for each method, metric and opponent.

``weights`` are the tuned ones, as text; ``design`` says how it was measured, in words, ``unit`` and ``units`` what tests count
and how many, ``seeds`` how many trainings of each side were paired. ``standardized`` is the difference over the standard
deviation of the paired differences, ``relevant`` the half-width of what counts as equivalent. ``cost`` is that of a training
relative to the baseline, without evaluations; see ``training_seconds``. What was not recorded is empty."""
LEGEND = (
    "[ ]: 95 % interval of the paired difference, of t or, where it was measured until decided, valid at any stopping time; p: "
    "of the test that belongs to it, not corrected over the page; cost: of training, the baseline's is 1"
)
TEXT = ("method", "suite", "data", "metric", "mode", "entry", "against", "weights", "design", "unit", "verdict")


class Claim(Strict):
    """What a paper claims of its method, and which suite measures it."""

    suite: str = Field(description="a ready-made suite")
    entry: str = Field(description="the method's entry in it")
    competitors: list[str] = Field([], description="entries that it is compared with besides its track's baseline")
    data: str = Field(description="data set")
    metrics: list[str] = Field(min_length=1, description="test metrics that are measured")
    metric: str = Field(description="the one of them that the claim is about")
    direction: Literal["higher", "lower"] = Field(description="what is claimed of its value for the method")
    against: str = Field("baseline", description="than that of whom: a competitor, `baseline`, or `its weights off`")
    headline: bool = Field(False, description="whether this is the one of a method's claims that stands for it")
    claim: str = Field(description="what the paper says, with its place there")


@cache
def claims() -> dict[str, list[Claim]]:
    """What is claimed of each method, by slug; several where several suites measure it."""
    raw = yaml.safe_load((files(FOLDER) / "claims.yaml").read_text(encoding="utf-8"))
    return {
        slug: [Claim.model_validate(claim) for claim in (found if isinstance(found, list) else [found])]
        for slug, found in raw.items()
    }


@cache
def measured() -> list[Effect]:
    """The effects that were measured; see ``COLUMNS``. A number that is missing is nan."""
    rows = csv.DictReader(io.StringIO((files(FOLDER) / "effects.csv").read_text(encoding="utf-8")))
    return [{name: value if name in TEXT else float(value or "nan") for name, value in row.items()} for row in rows]


def note(slug: str) -> str:
    """When to use a method and what it costs, in Markdown; empty where nobody has written that yet."""
    for track in files("regbench.methods").iterdir():
        if (file := track / f"{slug}.md").is_file():
            return file.read_text(encoding="utf-8")
    return ""


def effects_of(slug: str, claim: Claim | None = None) -> list[Effect]:
    """The measured rows of a method, of one of its claims or of all; empty where nothing was measured."""
    return [
        row
        for row in measured()
        if row["method"] == slug and (claim is None or (row["suite"], row["data"]) == (claim.suite, claim.data))
    ]


def measured_methods() -> list[str]:
    """The methods whose effects were measured, in the order of the table."""
    return list(dict.fromkeys(row["method"] for row in measured()))


def measured_claims(slug: str) -> list[Claim]:
    """The claims of a method that were measured."""
    return [claim for claim in claims()[slug] if effects_of(slug, claim)]


def effects_page(slugs: Iterable[str]) -> RenderableType:
    """Measured effects in the terminal: for each method its paper's claim, and a table."""
    parts: list[RenderableType] = []
    for slug, claim in [(method, claim) for method in slugs for claim in measured_claims(method)]:
        table = Table(header_style="dim", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("metric", "mean", "against", "difference", "p", "verdict", "cost"):
            table.add_column(name, no_wrap=name == "difference")
        for row in effects_of(slug, claim):
            table.add_row(*cells(row))
        parts += [
            Text(f"Measured effect of {slug}", style="bold"),
            Text(f"on {claim.data} (suite {claim.suite}), tuned under an equal budget; {how(slug, claim)}"),
            Text(f"The paper: {claim.claim}", style="italic"),
            table,
        ]
    return Group(*parts, Text(LEGEND, style="dim"))


def how(slug: str, claim: Claim) -> str:
    """By which design a claim was measured, and with which tuned weights, as far as that was recorded."""
    rows = effects_of(slug, claim)
    designs = dict.fromkeys(row["design"] for row in rows)
    weights = dict.fromkeys(row["weights"] for row in rows if row["weights"])
    return "; ".join([" or ".join(designs), *weights])


def cells(row: Effect) -> list[str]:
    """A measured effect as text: metric, mean, opponent, difference, p, verdict, cost."""
    return [
        f"{row['metric']} ({row['mode']})",
        mean_text(row["mean"], row["low"], row["high"]),
        row["against"],
        difference_text(row["difference"], row["difference_low"], row["difference_high"]),
        p_text(row["p"]),
        row["verdict"],
        "" if math.isnan(row["cost"]) else f"{row['cost']:.2f}",
    ]
