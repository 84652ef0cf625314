"""What a comparison says of replicates: variance components, corrected variances, tuned weights, and what it takes."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from statsmodels.stats.power import TTestPower

from regbench.methods.errors import ConfigError
from regbench.platform.comparison.candidates import baselines_of, grouped, read_sources
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.power import power_page, spread, units_needed, units_until_decided
from regbench.platform.comparison.text import weights_text
from regbench.platform.comparison.variance import variance
from regbench.platform.records.records import Records, Report, Trial, study_name
from regbench.platform.records.storage import Storage

ENTRIES = {"cross_entropy": "cross_entropy", "label_smoothing": "label_smoothing", "other": "label_smoothing"}


def replicated(
    folder, value, *, replicates=6, seeds=2, overlap=0.0, resplit=False, smoothing=lambda r: 0.1, **suite
) -> Records:
    """A sweep of three entries; ``value(entry, replicate, seed)`` is the accuracy of a confirmation."""
    records = Records(Storage(folder))
    for entry, method in ENTRIES.items():
        for replicate in range(replicates):
            searched = {"smoothing": smoothing(replicate)} if method != "cross_entropy" else {"learning_rate": 0.1}
            trained = [("tune", 0, replicate, 0.9)]
            trained += [("confirm", n, 1000 + seeds * replicate + n, value(entry, replicate, n)) for n in range(seeds)]
            for stage, number, seed, accuracy in trained:
                name = study_name(entry, "digits", replicate)
                trial = Trial(
                    "s", f"{name}-{stage}-{number:04d}", stage, "classification", entry, method, None, "digits", number, seed,
                    ("val/accuracy",), ("max",), 1, searched, searched, None, None if stage == "tune" else 0, "last",
                    replicate, replicate if resplit else 0,
                )  # fmt: skip
                records.plan(trial)
                found = {"val/accuracy": accuracy} | ({"test/accuracy": accuracy} if stage == "confirm" else {})
                records.start_attempt(trial.key).report(Report(1, 1.7e9, 2.0 if entry == "other" else 1.0, found))
                records.finish(trial, "completed")
    studies = [
        {"entry": entry, "method": method, "track": "classification", "data": "digits", "space": {}, "trials": 1, "draws": 1}
        | {"overlap": overlap, "weights": [], "objectives": ["val/accuracy"], "modes": ["max"]}
        for entry, method in ENTRIES.items()
    ]
    keys = {"name": "s", "replicates": replicates, "resplit": resplit, "confirm": {"seeds": seeds, "first_seed": 1000}} | suite
    records.storage.write("suite.json", json.dumps({"suite": keys, "studies": studies, "provenance": {}}).encode())
    return records


def simulated(split, tuning, seed, replicates, seeds):
    """Accuracies with given standard deviations of what replicates share, of an entry's own luck in one, and of a seed."""
    random = np.random.default_rng(0)
    shared = random.normal(0, split, replicates)
    own = {entry: random.normal(0, tuning, replicates) for entry in ENTRIES}
    return lambda entry, replicate, n: 0.8 + shared[replicate] + own[entry][replicate] + random.normal(0, seed)


def row(records, entry):
    return compare(records).entries.set_index("entry").loc[entry].to_dict()


def test_variance_is_taken_apart_into_split_tuning_and_seed(tmp_path):
    value = simulated(0.03, 0.02, 0.01, replicates=250, seeds=3)
    records = replicated(tmp_path, value, replicates=250, seeds=3, resplit=True)
    (candidates,) = grouped(read_sources([records])).values()
    found = {part["component"]: math.sqrt(part["variance"]) for part in variance(candidates)}
    assert found == {"split": pytest.approx(0.03, rel=0.15), "tuning": pytest.approx(0.02, rel=0.15),
                     "seed": pytest.approx(0.01, rel=0.15)}  # fmt: skip


def test_one_replicate_or_one_split_for_all_says_no_more_than_it_knows(tmp_path):
    several = compare(replicated(tmp_path / "several", simulated(0, 0.02, 0.01, 6, 2))).variance
    assert set(several["component"]) == {"tuning", "seed"}
    assert several["share"].sum() == pytest.approx(1)
    assert set(compare(replicated(tmp_path / "single", simulated(0, 0.02, 0.01, 6, 1), seeds=1)).variance["component"]) == {
        "tuning"
    }
    one = compare(replicated(tmp_path / "one", simulated(0, 0.02, 0.01, 1, 5), replicates=1, seeds=5))
    assert one.variance.empty


def test_intervals_of_overlapping_splits_are_nadeau_and_bengios(tmp_path):
    """1/n becomes 1/n + test rows / other rows: here a third of the rows are tested on."""
    value = simulated(0.02, 0.01, 0.002, 8, 2)
    values = {(e, r, n): value(e, r, n) for e in ENTRIES for r in range(8) for n in range(2)}
    records = replicated(tmp_path, lambda *key: values[key], replicates=8, overlap=1 / 3, resplit=True)
    found = row(records, "other")
    means = {entry: np.array([np.mean([values[entry, r, n] for n in range(2)]) for r in range(8)]) for entry in ENTRIES}
    difference = means["other"] - means["cross_entropy"]
    t = difference.mean() / (difference.std(ddof=1) * math.sqrt(1 / 8 + 0.5))
    assert found["difference_p"] == pytest.approx(2 * stats.t.sf(abs(t), 7))
    half = stats.t.ppf(1 - 0.05 / 4, 7) * difference.std(ddof=1) * math.sqrt(1 / 8 + 0.5)
    assert found["difference_high"] - found["difference_low"] == pytest.approx(2 * half), "Bonferroni's level of two"
    notes = " ".join(
        compare(replicated(tmp_path, lambda *key: values[key], replicates=8, overlap=1 / 3, resplit=True)).notes["note"]
    )
    assert "corrected after Nadeau and Bengio (2003), test rows / other rows = 0.50" in notes
    assert "tuned once" not in notes


def test_tuned_weights_are_told_by_median_and_range(tmp_path):
    records = replicated(tmp_path, simulated(0, 0.01, 0.01, 5, 2), replicates=5, smoothing=lambda r: 0.1 * (1 + r))
    weights = compare(records).weights
    own = weights[weights["entry"] == "label_smoothing"].to_dict("records")
    assert [(row["replicate"], row["number"]) for row in own] == [(r, pytest.approx(0.1 * (1 + r))) for r in range(5)]
    assert weights_text(own) == f"{own[0]['symbol']} = 0.3 (0.1 to 0.5)"
    assert weights_text(own[:1]) == f"{own[0]['symbol']} = 0.1"
    assert weights_text([]) == "–"


def test_units_seeds_and_cost_are_told(tmp_path):
    found = row(replicated(tmp_path, simulated(0, 0.01, 0.01, 4, 3), replicates=4, seeds=3), "other")
    assert (found["unit"], found["units"], found["seeds"], found["n"], found["design"]) == ("replicate", 4, 12, 4, "fixed")
    assert found["cost"] == pytest.approx(2.0)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "equivalent"), (0.1, "better")])
def test_a_fixed_design_that_names_what_is_relevant_can_show_equivalence(tmp_path, shift, verdict):
    noise = simulated(0, 0.0005, 0.0005, 6, 2)
    records = replicated(tmp_path, lambda e, r, n: noise(e, r, n) + shift * (e == "other"), relevant="1%")
    assert row(records, "other")["difference_verdict"] == verdict
    assert row(records, "other")["relevant"] == pytest.approx(0.008, rel=0.01)


@pytest.mark.parametrize("effect", [0.4, 1.0, 2.5])
def test_units_needed_are_those_of_the_t_tests_power(effect):
    expected = TTestPower().solve_power(effect_size=effect, alpha=0.0125, power=0.8)
    assert units_needed(effect, 0.0125) == math.ceil(expected)


def test_a_difference_that_overlapping_splits_hide_for_ever_needs_more_than_can_be(tmp_path):
    assert units_needed(1.0, 0.05, correlation=0.5) is None
    assert units_until_decided(1.0, 0.05, correlation=0.5) is None
    assert units_needed(5.0, 0.05, correlation=0.5) < 10


def test_power_takes_the_variances_of_a_sweep(tmp_path):
    records = replicated(tmp_path, simulated(0, 0.02, 0.01, 200, 2), replicates=200)
    (candidates,) = grouped(read_sources([records])).values()
    own = next(c for c in candidates if c.name == "other")
    found = spread(own, baselines_of(candidates)["s"])
    # The difference of two entries has twice the variance of one.
    assert math.sqrt(found.between) == pytest.approx(0.02 * math.sqrt(2), rel=0.15)
    assert math.sqrt(found.within) == pytest.approx(0.01 * math.sqrt(2), rel=0.15)
    console = Console(width=100, file=io.StringIO())
    console.print(power_page(records, 0.02, 0.8))
    expected = units_needed(0.02 / found.unit(2), 0.05 / 2)
    assert f" {expected} / " in console.file.getvalue()
    assert max(map(len, console.file.getvalue().splitlines())) <= 100


def test_power_needs_a_sweep_that_tells_how_differences_vary(tmp_path):
    with pytest.raises(ConfigError, match="run a pilot"):
        power_page(replicated(tmp_path, simulated(0, 0.01, 0.01, 1, 1), replicates=1, seeds=1), 0.01, 0.8)
