"""Pure functions on numbers: estimates, paired tests, corrections, ranks, verdicts.

* **Mean**: over seeds or replicates, with the two-sided 95 % t interval, mean ± t(0.975, n - 1) s / √n.
* **Paired differences**: their t interval and the paired t test; Holm's method corrects the p-values of a family.
* **Overlapping splits**: where replicates draw training and test rows from the same data, 1 / n in both becomes 1 / n + c, with
  c = test rows / other rows (Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003).
* **Ranks**: ties averaged; the Friedman test, and Nemenyi's critical difference (Demšar, "Statistical Comparisons of
  Classifiers over Multiple Data Sets", JMLR 7, 2006).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from regbench.platform.verdicts.family import ALPHA
from regbench.platform.verdicts.units import ROUNDING


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` values with its t interval; nan where ``n`` is too small for a quantity."""

    n: int
    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Differences of two series over the units (seeds or replicates) that both have, and the p-value of the paired t test.

    ``p`` is 1 where all differences are zero, and nan where there is nothing to test: fewer than two pairs, or a difference
    that is the same at every unit.
    """

    differences: dict[int, float]
    estimate: Estimate
    p: float


def estimate(values: Sequence[float], correlation: float = 0.0, alpha: float = ALPHA) -> Estimate:
    """The mean of ``values``, their standard deviation (n - 1), and the mean's two-sided t interval.

    Args:
        values: one a unit.
        correlation: c, of replicates whose splits overlap; see the module.
        alpha: the chance that the interval misses.
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2:
        return Estimate(n, mean, math.nan, math.nan, math.nan)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(1 - alpha / 2, n - 1)) * std * math.sqrt(1 / n + correlation)
    return Estimate(n, mean, std, mean - half, mean + half)


def pooled_variance(groups: Iterable[Sequence[float]]) -> float:
    """The variance within groups, over all of them; nan where none has two values."""
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    return math.fsum(float(np.var(group)) * len(group) for group in several) / freedom if freedom else math.nan


def paired(first: Mapping[int, float], second: Mapping[int, float], correlation: float = 0.0) -> Paired:
    """Compares two series, unit -> value, over the units that both have: ``first`` minus ``second``.

    Args:
        first: a series.
        second: the other.
        correlation: c, of replicates whose splits overlap; see the module.
    """
    units = sorted(first.keys() & second.keys())
    # Sums of equal numbers in another order differ by 1e-17: below this, a difference is rounding.
    rounding = ROUNDING * max((abs(value) for unit in units for value in (first[unit], second[unit])), default=0.0)
    differences = {unit: first[unit] - second[unit] for unit in units}
    differences = {unit: value if abs(value) > rounding else 0.0 for unit, value in differences.items()}
    found = estimate(list(differences.values()), correlation)
    if found.n < 2:
        return Paired(differences, found, math.nan)
    if found.std <= rounding:
        return Paired(differences, found, math.nan if found.mean else 1.0)
    t = found.mean / (found.std * math.sqrt(1 / found.n + correlation))
    return Paired(differences, found, float(2 * stats.t.sf(abs(t), found.n - 1)))


def verdict(
    pair: Paired,
    p: float,
    mode: str,
    words: tuple[str, str, str] = ("better", "worse", "no difference shown"),
    unit: str = "seed",
) -> str:
    """What a paired comparison of a fixed design says, in words.

    Args:
        pair: the differences.
        p: their corrected p-value.
        mode: whether a larger (``max``) or a smaller (``min``) value is good.
        words: for a good and for a bad difference that the test confirms, and for one that it does not.
        unit: what the differences are of: ``seed`` or ``replicate``.
    """
    n = pair.estimate.n
    good, bad, undecided = words
    if n < 2:
        return f"not tested: no {unit} in common" if n == 0 else f"not tested: 1 {unit}"
    word = good if (pair.estimate.mean > 0) == (mode == "max") else bad
    if math.isnan(p):
        return f"{word} by the same amount at all {n} {unit}s: nothing to test"
    if not any(pair.differences.values()):
        return f"identical at {n} {unit}s"
    return word if p < ALPHA else f"{undecided} at {n} {unit}s"


def average_ranks(scores: pd.DataFrame, mode: str) -> pd.Series:
    """Average rank of each column (1 is best) over the rows, ties averaged."""
    return scores.rank(axis=1, ascending=mode == "min", method="average").mean()


def friedman(scores: pd.DataFrame) -> tuple[float, float]:
    """Friedman's test, corrected for ties, that the columns rank alike in all rows.

    Args:
        scores: one row per data set, one column per entry.

    Returns:
        Statistic and p-value; nan for fewer than three entries or two data sets, 0 and 1 where all ranks are tied.
    """
    rows, columns = scores.shape
    if rows < 2 or columns < 3:
        return math.nan, math.nan
    if (scores.nunique(axis=1) == 1).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*(scores[name] for name in scores))
    return float(found.statistic), float(found.pvalue)


def critical_difference(entries: int, data_sets: int) -> float:
    """Nemenyi's critical difference of average ranks at 5 %: q √(k (k + 1) / 6 N), q the studentized range over √2."""
    q = stats.studentized_range.ppf(1 - ALPHA, entries, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(entries * (entries + 1) / (6 * data_sets)))
