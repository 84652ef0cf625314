"""What each method is worth on its small benchmark, beside what its paper claims: measured once, and kept with the code."""

import io
import json
import math
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import pandas as pd
import yaml
from pydantic import Field
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regbench.methods.errors import ConfigError, nearest
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.strict import Strict
from regbench.platform.comparison.compare import FRAMES, Comparison, Paired, Row, estimate, paired, rows_of, verdict
from regbench.platform.comparison.tables import difference_text, mean_text, p_text
from regbench.platform.execution.training_cost import training_seconds
from regbench.platform.records.records import Records

FOLDER = "regbench.effects"
WEIGHTS_OFF = "its weights off"
COST_REPEATS = 3
# Tables of a comparison that are kept with the effects, because their plots say what no row of effects can.
PLOTTED = ("trade_offs", "spectra")
COLUMNS = [
    "method", "suite", "data", "metric", "mode", "entry", "against", "seeds", "mean", "low", "high",
    "other_mean", "difference", "difference_low", "difference_high", "p", "verdict", "cost",
]  # fmt: skip
"""Of the measured effects: a row for each method, metric and opponent. ``cost`` is that of a training relative to the baseline,

without evaluations; see ``training_seconds``. It is empty where it has not been measured so."""


class Claim(Strict):
    """What a paper claims of its method, and which suite measures it."""

    suite: str = Field(description="a ready-made suite")
    entry: str = Field(description="the method's entry in it")
    competitors: list[str] = Field([], description="entries that it is compared with besides its track's baseline")
    data: str = Field(description="data set")
    metrics: list[str] = Field(min_length=1, description="test metrics, the one that the claim is about first")
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
def measured() -> pd.DataFrame:
    """The effects that were measured; see ``COLUMNS``."""
    return pd.read_csv(io.StringIO((files(FOLDER) / "effects.csv").read_text(encoding="utf-8")))


@cache
def plotted() -> Comparison:
    """What was kept of the sweeps for plots: the tables ``PLOTTED``, and the entries in them; all others are empty."""
    kept = {name: pd.read_csv(io.StringIO((files(FOLDER) / f"{name}.csv").read_text(encoding="utf-8"))) for name in PLOTTED}
    entries = pd.concat([frame[["track", "data", "entry"]] for frame in kept.values()]).drop_duplicates()
    empty = {name: pd.DataFrame(columns=list(kinds)) for name, kinds in FRAMES.items()}
    return Comparison(**(empty | kept | {"entries": entries}), suites={})


def measure(slug: str, claim: Claim, records: Records, found: Comparison) -> pd.DataFrame:
    """The effect of a method in a sweep of its suite.

    Args:
        slug: the method.
        claim: what to compare.
        records: of the sweep, confirmed.
        found: the sweep's comparison.

    Raises:
        ConfigError: the sweep lacks an entry or a metric that the claim names.
    """
    rows = found.entries[(found.entries["data"] == claim.data) & (found.entries["entry"] == claim.entry)]
    if rows.empty:
        raise ConfigError(f"claim of {slug}: suite {claim.suite} has no entry '{claim.entry}' on {claim.data}")
    baseline = str(rows.iloc[0]["compared_with"])
    cost = _cost(records, claim.data, claim.entry, baseline)
    opponents = [(name, name, "confirm") for name in dict.fromkeys([baseline, *claim.competitors])]
    opponents.append((WEIGHTS_OFF, claim.entry, "ablate"))
    measured = []
    for metric in claim.metrics:
        mode, own = _values(found, claim, metric, claim.entry, "confirm", slug)
        for against, entry, stage in opponents:
            if against == WEIGHTS_OFF and not _has(found, claim, entry, stage):
                continue
            other = _values(found, claim, metric, entry, stage, slug)[1]
            pair = paired(own, other)
            measured.append(
                {"method": slug, "suite": claim.suite, "data": claim.data, "metric": metric, "mode": mode}
                | {"entry": claim.entry, "against": against}
                | _figures(own, other, pair, mode)
                | {"cost": cost}
            )
    return pd.DataFrame(measured, columns=COLUMNS)


def _figures(own: dict[int, float], other: dict[int, float], pair: Paired, mode: str) -> Row:
    alone = estimate(list(own.values()))
    shared = pair.differences.keys()
    return {
        "seeds": pair.estimate.n,
        "mean": alone.mean,
        "low": alone.low,
        "high": alone.high,
        "other_mean": sum(other[seed] for seed in shared) / len(shared),
        "difference": pair.estimate.mean,
        "difference_low": pair.estimate.low,
        "difference_high": pair.estimate.high,
        "p": pair.p,
        "verdict": verdict(pair, pair.p, mode),
    }


def _has(found: Comparison, claim: Claim, entry: str, stage: str) -> bool:
    seeds = found.seeds
    return bool(((seeds["data"] == claim.data) & (seeds["entry"] == entry) & (seeds["stage"] == stage)).any())


def _values(found: Comparison, claim: Claim, metric: str, entry: str, stage: str, slug: str) -> tuple[str, dict[int, float]]:
    """A test metric's mode, and its values by seed."""
    seeds, metrics = found.seeds, found.metrics
    here = seeds[(seeds["data"] == claim.data) & (seeds["entry"] == entry) & (seeds["stage"] == stage)]
    chosen = here[here["metric"] == metric]
    if chosen.empty:
        known = sorted(set(here["metric"])) or sorted(set(seeds["entry"]))
        raise ConfigError(f"claim of {slug}: no confirmed {metric} of '{entry}' on {claim.data}; {nearest(metric, known)}")
    mode = str(metrics["mode"][metrics["metric"] == metric].iloc[0])
    return mode, {int(row["seed"]): float(row["value"]) for row in rows_of(chosen)}


def _cost(records: Records, data: str, entry: str, baseline: str) -> float:
    """Processor time of a training of an entry as confirmed, relative to one of the baseline; the least of three each."""
    trials = records.trials().to_pylist()
    seconds: dict[str, float] = {}
    for name in (baseline, entry):
        row = next(row for row in trials if (row["data"], row["stage"], row["entry"]) == (data, "confirm", name))
        method = create(row["method"], json.loads(row["settings"]))
        seconds[name] = min(training_seconds(method, Run(data, seed=seed)) for seed in range(COST_REPEATS))
    return seconds[entry] / seconds[baseline]


def note(slug: str) -> str:
    """When to use a method and what it costs, in Markdown; empty where nobody has written that yet."""
    for track in files("regbench.methods").iterdir():
        if (file := track / f"{slug}.md").is_file():
            return file.read_text(encoding="utf-8")
    return ""


def effects_of(slug: str, claim: Claim | None = None) -> pd.DataFrame:
    """The measured rows of a method, of one of its claims or of all; empty where nothing was measured."""
    found = measured()
    found = found[found["method"] == slug]
    return found if claim is None else found[(found["suite"] == claim.suite) & (found["data"] == claim.data)]


def measured_claims(slug: str) -> list[Claim]:
    """The claims of a method that were measured."""
    return [claim for claim in claims()[slug] if len(effects_of(slug, claim))]


def effects_page(slugs: Iterable[str]) -> RenderableType:
    """Measured effects in the terminal: for each method its paper's claim, and a table."""
    parts: list[RenderableType] = []
    for slug, claim in [(method, claim) for method in slugs for claim in measured_claims(method)]:
        table = Table(header_style="dim", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("metric", "mean", "against", "difference", "p", "verdict", "cost"):
            table.add_column(name, no_wrap=name == "difference")
        for row in rows_of(effects_of(slug, claim)):
            table.add_row(*cells(row))
        parts += [
            Text(f"Measured effect of {slug}", style="bold"),
            Text(f"on {claim.data} (suite {claim.suite}), tuned under an equal budget, over fresh seeds"),
            Text(f"The paper: {claim.claim}", style="italic"),
            table,
        ]
    legend = "[ ]: 95 % t interval of the difference, paired by seed; p: paired t test; cost: of training, the baseline's is 1"
    return Group(*parts, Text(legend, style="dim"))


def cells(row: Row) -> list[str]:
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
