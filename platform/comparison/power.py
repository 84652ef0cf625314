"""How many replicates and seeds it takes to show a difference, from the variances of a sweep that has been run."""

import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from scipy import stats

from regbench.methods.errors import ConfigError
from regbench.platform.comparison.candidates import Candidate, baselines_of, grouped, read_sources
from regbench.platform.comparison.statistics import pooled_variance
from regbench.platform.comparison.text import number
from regbench.platform.records.records import Records
from regbench.platform.verdicts.anytime import FIRST_LOOK, p_values
from regbench.platform.verdicts.family import ALPHA

POWER = 0.8
MOST_UNITS = 1000
# Simulated series, and units of each, behind what a sweep that runs until it is decided needs.
SERIES, UNITS = 2000, 200
SEEDS = (1, 2, 5)


@dataclass(frozen=True)
class Spread:
    """How the paired difference of an entry to its baseline varies.

    Attributes:
        entry: its label.
        between: variance between replicates (tuning, and the split where there is one); nan where there is one replicate.
        within: variance between the seeds of a replicate; nan where there is one seed.
        correlation: of replicates whose splits overlap.
    """

    entry: str
    between: float
    within: float
    correlation: float

    def unit(self, seeds: int) -> float:
        """The standard deviation of the difference of a replicate with so many seeds."""
        return math.sqrt(self.between + (0.0 if math.isnan(self.within) else self.within / seeds))


def spread(candidate: Candidate, baseline: Candidate) -> Spread | None:
    """The spread of a candidate; None where fewer than two differences tell nothing of it."""
    own, other = candidate.confirmed, baseline.confirmed
    groups = candidate.by_replicate({seed: own[seed] - other[seed] for seed in own.keys() & other.keys()}).values()
    within = pooled_variance(groups)
    if len(groups) < 2:
        return None if math.isnan(within) else Spread(candidate.label, math.nan, within, 0.0)
    means = float(np.var([fmean(group) for group in groups], ddof=1))
    shared = 0.0 if math.isnan(within) else within / fmean(map(len, groups))
    return Spread(candidate.label, max(0.0, means - shared), within, candidate.correlation)


def units_needed(effect: float, alpha: float, power: float = POWER, correlation: float = 0.0) -> int | None:
    """How many units the paired t test needs.

    Args:
        effect: difference over the standard deviation of a unit.
        alpha: of the two-sided test.
        power: the chance to show it.
        correlation: of units that share data (Nadeau and Bengio, 2003).

    Returns:
        None where 1,000 are not enough.
    """

    def chance(n: int) -> float:
        shift = effect / math.sqrt(1 / n + correlation)
        limit = stats.t.ppf(1 - alpha / 2, n - 1)
        return float(stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift))

    return next((n for n in range(2, MOST_UNITS + 1) if chance(n) >= power), None)


def units_until_decided(effect: float, alpha: float, power: float = POWER, correlation: float = 0.0) -> int | None:
    """How many units the anytime-valid t test needs so that it has shown the difference with a chance of ``power``; see above.

    Simulated, so exact to about 2 %; None where 200 are not enough.
    """
    random = np.random.default_rng(0)
    shared = math.sqrt(correlation) * random.standard_normal((SERIES, 1))
    p = p_values(effect + random.standard_normal((SERIES, UNITS)) + shared, correlation)
    shown = (p < alpha).mean(axis=0)
    reached = np.flatnonzero(shown >= power)
    return max(FIRST_LOOK, int(reached[0]) + 1) if len(reached) else None


def power_page(records: Records, difference: float, power: float) -> RenderableType:
    """What it takes to show a difference, a table for each track and data set of a sweep.

    Raises:
        ConfigError: the sweep has no confirmed entry beside its baseline.
    """
    parts: list[RenderableType] = []
    for (track, data), candidates in grouped(read_sources([records])).items():
        baselines = baselines_of(candidates)
        others = [c for c in candidates if c.confirmed and baselines and c is not baselines[c.source.name]]
        spreads = [found for c in others if (found := spread(c, baselines[c.source.name]))]
        if not spreads:
            continue
        metric = candidates[0].yardstick.metric
        title = f"{track} on {data}: to show a difference of {difference:g} in test {metric}"
        repeated = not any(math.isnan(found.between) for found in spreads)
        parts.append(_table(title, spreads, difference, power, SEEDS if repeated else None))
        if not repeated:
            parts.append(Text("One replicate tells nothing of tuning's luck: the seeds are of one tuned configuration.", "dim"))
    if not parts:
        raise ConfigError(
            "no entry was confirmed beside its baseline on two seeds or more, so that nothing is known of how differences "
            "vary: run a pilot with `replicates: 2` and `confirm: {seeds: 2}`"
        )
    told = f"{power:.0%} chance to show it at Holm's first step; fixed / until decided; –: over {MOST_UNITS} / {UNITS}"
    return Group(*parts, Text(told, style="dim"))


def _table(title: str, spreads: list[Spread], difference: float, power: float, seeds: tuple[int, ...] | None) -> Table:
    """Args: ``seeds`` of a replicate; None where there is one replicate, so that the unit is the seed."""
    alpha = ALPHA / len(spreads)
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, header_style="dim")
    table.min_width = min(len(title) + 2, 96)
    table.add_column("entry", no_wrap=True)
    units = [f"replicates of {count}" for count in seeds] if seeds else ["seeds"]
    for column in [*(["sd of tuning"] if seeds else []), "sd of a seed", *units]:
        table.add_column(column, justify="right")
    for found in spreads:
        deviations = [found.unit(count) for count in seeds] if seeds else [math.sqrt(found.within)]
        parts = [found.between, found.within] if seeds else [found.within]
        cells = [_units(difference / sd if sd else math.inf, alpha, power, found.correlation) for sd in deviations]
        table.add_row(Text(found.entry), *(number(math.sqrt(part)) for part in parts), *cells)
    return table


def _units(effect: float, alpha: float, power: float, correlation: float) -> str:
    if math.isinf(effect):
        return f"2 / {FIRST_LOOK}"
    found = (units_needed(effect, alpha, power, correlation), units_until_decided(effect, alpha, power, correlation))
    return " / ".join(str(n) if n else "–" for n in found)
