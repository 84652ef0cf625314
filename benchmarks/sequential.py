"""How often tables that run until they are decided say better or worse without a reason, and what they cost, beside fixed ones.

A table has a baseline and five entries, so that its five comparisons share the baseline. It is decided as a suite with
``until: decided`` is: anytime-valid tests of the paired differences, Holm over the table, a look after every unit from the
third, at most 40. Beside it, paired t tests with Holm's correction after a fixed number of units. Of each case, 10,000 tables.

Noise of a training:

* ``gaussian``;
* ``tails``: Student's t with three degrees of freedom;
* ``falls``: Gaussian, and one training in twenty falls by ten standard deviations;
* ``images 90 %``, ``images 99.5 %``: the accuracy on 300 test images of a classifier that errs on one in ten, or in 200;
* ``falls, entries alone``: as ``falls``, but the baseline never does, and the means are equal: what is rare is not seen, and
  until it is, entries are better. No test of means, sequential or fixed, is proof against it;
* ``one image``: an entry is right on one image more than the baseline, or one less, in two fifths of the units each, so that
  the first six differences are often the same. Where ``relevant`` is more than one image, that is called equivalent.

What a unit is:

* ``seed``: one training;
* ``replicate``: tuned anew, which adds a component as noisy as a training (of accuracies, a Gaussian one to the probability
  of being right), then the mean of two trainings;
* ``replicate, overlapping``: Gaussian replicates on splits of the data whose test parts overlap by a third, correlated as
  Nadeau and Bengio assume;
* ``seed, tuned once``: one training, with the component of tuning the same in all units: what one replicate does not tell.

Effects are in standard deviations of a unit's paired difference; one entry of the five has it, and is worse. ``error`` is the
share of tables with a false verdict: better or worse of an entry without an effect, the wrong one of the entry with one, or
equivalent where the effect is not below ``relevant`` (in the same unit). ``power`` is the share in which that entry is found
worse, ``equivalent`` that of the comparisons without an effect so called, ``units`` the mean number of units of the entry with
an effect, or, without one, of all. Errors have a standard error of 0.2 points.

    python benchmarks/sequential.py

writes ``benchmarks/results/sequential.csv`` in about a minute on one core.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from regbench.platform.verdicts.anytime import FIRST_LOOK, half_widths, moments, p_values
from regbench.platform.verdicts.family import ALPHA, Rules, Series, decide, steps

RESULTS = Path(__file__).parent / "results" / "sequential.csv"
FIELDS = ["noise", "unit", "effect", "relevant", "design", "error", "power", "equivalent", "units"]
TABLES, ENTRIES, AT_MOST = 10_000, 5, 40
FIXED = (5, 10, 20, 40)
EFFECTS = (0.5, 1.0, 2.0)
IMAGES = 300
FALLS, DEPTH = 0.05, 10.0
# Share of a split's rows that another split of the same data tests too.
OVERLAP = 1 / 3
CHUNK = 1000
CHECKED = 20

Array = NDArray[np.float64]


class Case(NamedTuple):
    """What is simulated: see the module."""

    noise: str
    unit: str
    effect: float = 0.0
    relevant: float = 0.5


class Found(NamedTuple):
    """Verdicts of tables ``[T, K]``: sign of the difference found (0: none), whether equivalent, and units used."""

    sign: NDArray[np.int_]
    equivalent: NDArray[np.bool_]
    units: NDArray[np.int_]


def cases() -> Iterator[Case]:
    """All that is simulated."""
    noises = ("gaussian", "tails", "falls", "images 90 %", "images 99.5 %")
    for unit in ("seed", "replicate"):
        yield from (Case(noise, unit) for noise in noises)
    yield Case("gaussian", "replicate, overlapping")
    yield Case("gaussian", "seed, tuned once")
    for unit in ("seed", "replicate"):
        yield from (Case(noise, unit, effect) for noise in noises[:-1] for effect in EFFECTS)
    yield from (Case("gaussian", "replicate, overlapping", effect) for effect in EFFECTS)
    yield from (Case("gaussian", "seed", effect, relevant=1.0) for effect in (0.0, 1.0))
    yield Case("falls, entries alone", "seed")
    yield from (Case("one image", "seed", relevant=relevant) for relevant in (0.5, 1.5))


def trainings(case: Case, tables: int, random: np.random.Generator) -> Array:
    """Results ``[T, 1 + K, N, S]`` of N units of S seeds: of the baseline, and of K entries, the first worse by the effect."""
    sides, seeds = (tables, 1 + ENTRIES), 2 if case.unit.startswith("replicate") else 1
    tuned = (*sides, 1 if case.unit == "seed, tuned once" else AT_MOST, 1)
    shape = (*sides, AT_MOST, seeds)
    shift = np.zeros((1 + ENTRIES, 1, 1))
    shift[1] = -case.effect * np.sqrt(2) * deviation(case)
    if case.noise == "one image":
        right = random.binomial(IMAGES, 0.9, (tables, 1, *shape[2:]))
        changes = random.choice([-1, 0, 1], p=[0.4, 0.2, 0.4], size=(tables, ENTRIES, *shape[2:]))
        return np.concatenate([right, right + changes], axis=1) / IMAGES
    if case.noise.startswith("images"):
        right = accuracy(case) + shift
        if case.unit != "seed":
            right = right + noise_deviation(case) * random.standard_normal(tuned)
        return random.binomial(IMAGES, np.broadcast_to(right.clip(0, 1), shape)) / IMAGES
    if case.unit == "replicate, overlapping":
        common, own = (random.standard_normal(part) for part in ((*sides, 1, 1), tuned))
        unit = np.sqrt(OVERLAP) * common + np.sqrt(1 - OVERLAP) * own
        return shift + deviation(case) * np.broadcast_to(unit, shape)
    found = shift + noise(case.noise, shape, random)
    return found if case.unit == "seed" else found + noise(case.noise, tuned, random)


def noise(kind: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Of results ``[T, 1 + K, …]`` that are no accuracies."""
    if kind == "tails":
        return random.standard_t(3, shape)
    found = random.standard_normal(shape)
    if kind.startswith("falls"):
        falls = DEPTH * (random.random(shape) < FALLS)
        if kind.endswith("alone"):
            falls -= DEPTH * FALLS
            falls[:, 0] = 0
        found -= falls
    return found


def accuracy(case: Case) -> float:
    """Of a classifier on images, without an effect."""
    return float(case.noise.removeprefix("images ").removesuffix(" %")) / 100


def noise_deviation(case: Case) -> float:
    """Standard deviation of one training's result, over both sides of a comparison."""
    if case.noise.startswith("images"):
        return float(np.sqrt(accuracy(case) * (1 - accuracy(case)) / IMAGES))
    falls = DEPTH**2 * FALLS * (1 - FALLS)
    # Half the variance of the difference, where the two sides are not alike.
    variances = {"tails": 3, "falls": 1 + falls, "falls, entries alone": 1 + falls / 2, "one image": 0.4 / IMAGES**2}
    return float(np.sqrt(variances.get(case.noise, 1)))


def deviation(case: Case) -> float:
    """Standard deviation of a unit."""
    return noise_deviation(case) * (1 if case.unit.startswith("seed") else np.sqrt(1 + 1 / 2))


def sequential(d: Array, constant: NDArray[np.bool_], rules: Rules) -> Found:
    """What ``decide`` says of many tables of differences ``[T, K, N]`` at once."""
    tables, entries, _ = d.shape
    p = p_values(d, rules.correlation)
    low, high = intervals(d, ALPHA / np.arange(1, entries + 1), rules.correlation)
    sign, equivalent = np.zeros((2, tables, entries), dtype=int)
    last, units = np.ones((tables, entries)), np.zeros((tables, entries), dtype=int)
    rows, columns = np.indices((tables, entries))
    for n in range(rules.first, rules.at_most + 1):
        waiting = units == 0
        last = np.where(waiting, p[:, :, n - 1], last)
        corrected, left = steps(last)
        rejected = corrected < ALPHA
        level = np.where(rejected, left, entries) - 1
        below, above = high[level, rows, columns, n - 1], low[level, rows, columns, n - 1]
        same = constant & (d[:, :, n - 1] != 0)
        small = ~same & (np.maximum(-above, below) <= rules.relevant)
        found = np.where(rejected & ~same & ~small, (above > 0).astype(int) - (below < 0), 0)
        ended = waiting & (same | small | (found != 0))
        sign, equivalent, units = (np.where(ended, new, old) for new, old in ((found, sign), (small, equivalent), (n, units)))
    return Found(sign, equivalent.astype(bool), np.where(units == 0, rules.at_most, units))


def intervals(d: Array, alphas: Array, correlation: float) -> tuple[Array, Array]:
    """The ends of ``interval`` after each unit, at each of A levels, ``[A, T, K, N]``."""
    mean, _ = moments(d)
    half = half_widths(d[None], alphas[:, None, None], correlation)
    low, high = np.maximum.accumulate(mean - half, axis=-1), np.minimum.accumulate(mean + half, axis=-1)
    last = np.maximum.accumulate(np.where(low <= high, np.arange(d.shape[-1]), 0), axis=-1)
    return np.take_along_axis(low, last, -1), np.take_along_axis(high, last, -1)


def check(d: Array, constant: NDArray[np.bool_], rules: Rules, found: Found) -> None:
    """Compares some tables with what the product says of each."""
    ends = {"above": (1, False), "below": (-1, False), "equivalent": (0, True)}
    for table in range(CHECKED):
        series = {str(k): Series(row.tolist(), bool(constant[table, k])) for k, row in enumerate(d[table])}
        for k, decision in enumerate(decide(series, rules).values()):
            sign, equivalent = ends.get(decision.end, (0, False))
            assert (sign, equivalent, decision.units) == (
                found.sign[table, k],
                found.equivalent[table, k],
                found.units[table, k],
            ), (rules, table, k, decision)


def fixed(d: Array, units: int, correlation: float) -> Found:
    """Paired t tests after a fixed number of units, corrected by Holm's method."""
    mean, sd = (moment[..., units - 1] for moment in moments(d))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean * np.sqrt(units / (1 + units * correlation)) / sd
    # The same difference in all units is nothing to test.
    p = np.where(sd > 0, 2 * stats.t.sf(np.abs(t), units - 1), 1.0)
    sign = np.where(steps(p)[0] < ALPHA, np.sign(mean), 0).astype(int)
    return Found(sign, np.zeros(sign.shape, dtype=bool), np.full(sign.shape, units))


def row(case: Case, design: str, parts: list[Found]) -> list[object]:
    """One row of the table."""
    found = Found(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    wrong = found.sign != 0
    nulls = found.equivalent
    if case.effect:
        wrong[:, 0] = (found.sign[:, 0] > 0) | (found.equivalent[:, 0] & (case.effect >= case.relevant))
        nulls = found.equivalent[:, 1:]
    power = f"{(found.sign[:, 0] < 0).mean():.4f}" if case.effect else ""
    units = found.units[:, 0] if case.effect else found.units
    figures = [f"{wrong.any(axis=1).mean():.4f}", power, f"{nulls.mean():.4f}", f"{units.mean():.1f}"]
    return [case.noise, case.unit, f"{case.effect:g}", f"{case.relevant:g}", design, *figures]


def simulate(case: Case, tables: int, seed: int) -> list[list[object]]:
    """The rows of a case: until decided, and each fixed number of units."""
    random = np.random.default_rng(seed)
    correlation = OVERLAP / (1 - OVERLAP) if "overlapping" in case.unit else 0.0
    rules = Rules(FIRST_LOOK, AT_MOST, case.relevant * np.sqrt(2) * deviation(case), correlation)
    found: dict[str, list[Found]] = {}
    for start in range(0, tables, CHUNK):
        results = trainings(case, min(CHUNK, tables - start), random)
        flat = results[:, :, :FIRST_LOOK].reshape(*results.shape[:2], -1)
        same = (flat == flat[:, :, :1]).all(axis=2)
        d = results.mean(axis=3)
        d, constant = d[:, 1:] - d[:, :1], same[:, 1:] & same[:, :1]
        # As in the product: sums of equal numbers in another order differ by as much.
        d[np.abs(d) <= 1e-12] = 0
        decided = sequential(d, constant, rules)
        if start == 0:
            check(d, constant, rules, decided)
        found.setdefault("until decided", []).append(decided)
        for units in FIXED:
            found.setdefault(f"{units} units", []).append(fixed(d, units, correlation))
    return [row(case, design, parts) for design, parts in found.items()]


def main() -> None:
    """Simulates every case, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=TABLES, help="tables of each case")
    arguments = parser.parse_args()
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        for number, case in enumerate(cases()):
            for line in simulate(case, arguments.tables, number):
                table.writerow(line)
                print(*line, sep="\t", flush=True)


if __name__ == "__main__":
    main()
