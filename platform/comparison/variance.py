"""Where the judged metric's variance comes from: the seed of training, the luck of tuning, and the split of the data."""

import math
from collections.abc import Iterable
from statistics import fmean

import pandas as pd

from regbench.platform.comparison.candidates import Candidate
from regbench.platform.comparison.frames import Row
from regbench.platform.comparison.statistics import pooled_variance


def variance(candidates: list[Candidate]) -> Iterable[Row]:
    """The components of a table with replicates; nothing without, or where no two entries share two replicates.

    The method of moments in a two-way layout of the replicates' means, entries by replicates. Seeds are what varies within an
    entry and replicate; tuning is what an entry has of its own in a replicate beyond that; the split is what all entries have
    in common in a replicate, and is there only where replicates have splits of their own. What would be negative is 0.
    """
    repeated = [c for c in candidates if c.source.design.by_replicate and c.confirmed]
    means = pd.DataFrame({c.label: pd.Series(c.unit_scores("confirm", c.yardstick.metric)) for c in repeated}).dropna()
    replicates, entries = means.shape
    if replicates < 2 or entries < 2:
        return
    own = means.to_numpy()
    interaction = own - own.mean(axis=0) - own.mean(axis=1, keepdims=True) + own.mean()
    of_interaction = float((interaction**2).sum() / ((replicates - 1) * (entries - 1)))
    of_replicates = float(entries * own.mean(axis=1).var(ddof=1))
    groups = [group for c in repeated for group in c.by_replicate(c.confirmed).values()]
    within = pooled_variance(groups)
    of_seeds = 0.0 if math.isnan(within) else within / fmean(map(len, groups))
    found = {"tuning": max(0.0, of_interaction - of_seeds)}
    if any((c.source.suite.get("suite") or {}).get("resplit") for c in repeated):
        found["split"] = max(0.0, (of_replicates - of_interaction) / entries)
    if not math.isnan(within):
        found["seed"] = within
    total = math.fsum(found.values())
    for name, value in found.items():
        yield {"component": name, "variance": value, "share": value / total if total else math.nan}
