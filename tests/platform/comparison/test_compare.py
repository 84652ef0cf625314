"""The comparison against independent calculations, on records written as a sweep writes them."""

import io
import json
import math
import re
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json
from rich.console import Console
from scipy import stats
from statsmodels.stats.multitest import multipletests

from regbench.methods.registry import method_class
from regbench.platform.comparison import tables, text
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.frames import FRAMES
from regbench.platform.comparison.statistics import average_ranks, critical_difference, estimate, friedman, paired
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.verdicts.family import holm

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = range(1000, 1005)
BASE = [0.910, 0.930, 0.900, 0.925, 0.915]
BETTER = [0.934, 0.951, 0.925, 0.948, 0.938]
WORSE = [0.880, 0.905, 0.870, 0.900, 0.880]
ALIKE = [0.914, 0.921, 0.911, 0.919, 0.909]
SMOOTHING = FloatDistribution(0.01, 0.5, log=True)
SETTINGS = {"smoothing": SMOOTHING, "optimizer": CategoricalDistribution(["sgd", "adam"])}


class Sweep:
    """Writes a synthetic sweep, trial by trial, through the records' own interface."""

    def __init__(self, folder, name="demo", track="classification", objectives=("val/accuracy",), modes=("max",)):
        self.records = Records(Storage(folder / name))
        self.name, self.track, self.objectives, self.modes = name, track, objectives, modes
        self.studies = []

    def trial(self, entry, stage, number, rounds, *, method=None, data="digits", seed=0, searched=None, status="completed",
              reason=None, planned=3, settings=None):  # fmt: skip
        """``rounds``: the metrics of each report."""
        key = re.sub(r"[^\w.-]+", "", f"{entry}-{data}-{stage}-{number:04d}")
        arxiv = "1512.00567" if method or entry == "label_smoothing" else None
        trial = Trial(
            self.name, key, stage, self.track, entry, method or entry, arxiv,
            data, number, seed, self.objectives, self.modes, planned, {"epochs": planned} | (settings or {}) | (searched or {}),
            searched or {},
        )  # fmt: skip
        self.records.plan(trial)
        attempt = self.records.start_attempt(key, host="node-1", device="cpu")
        for index, metrics in enumerate(rounds):
            attempt.report(Report(index + 1, 1.7e9 + index, 0.5 * (index + 1), metrics))
        self.records.finish(trial, status, reason)

    def confirm(self, entry, values, *, stage="confirm", seeds=SEEDS, metric="accuracy", **details):
        """One completed trial a seed, whose last report holds the test metrics."""
        for number, (seed, value) in enumerate(zip(seeds, values, strict=True)):
            rounds = [{f"val/{metric}": value - 0.1 * (2 - i), "val/nll": 1 - value} for i in range(3)]
            rounds[-1] |= {f"test/{metric}": value, "test/nll": 1 - value}
            self.trial(entry, stage, number, rounds, seed=seed, **details)

    def tune(self, entry, count=10, *, space=None, metric="accuracy", stopped=(), **details):
        """``count`` trials; the metric depends on the first setting and hardly on the others."""
        space = SETTINGS if space is None else space
        random = np.random.default_rng(0)
        for number in range(count):
            searched = {
                name: limits.choices[number % len(limits.choices)]
                if isinstance(limits, CategoricalDistribution)
                else float(10 ** random.uniform(math.log10(limits.low), math.log10(limits.high)))
                for name, limits in space.items()
            }
            value = 0.9 - 0.3 * next((v for v in searched.values() if isinstance(v, float)), 0.1)
            early = number in stopped
            values = {f"val/{metric}": value, "val/nll": 0.2 + value**2}
            self.trial(entry, "tune", number, [values] * (1 if early else 3), searched=searched,
                       status="stopped" if early else "completed", **details)  # fmt: skip
        studied = {name: distribution_to_json(limits) for name, limits in space.items()}
        self.studies.append({"entry": entry, "data": details.get("data", "digits"), "space": studied})

    def describe(self, **suite):
        """Writes ``suite.json``."""
        content = {
            "suite": {"name": self.name} | suite,
            "studies": self.studies,
            "provenance": {"regbench": "0.1.0", "git": None},
        }
        self.records.storage.write("suite.json", json.dumps(content).encode())


def entry(comparison, name, data="digits"):
    """The row of an entry as a dictionary."""
    frame = comparison.entries
    return frame[(frame["entry"] == name) & (frame["data"] == data)].iloc[0].to_dict()


def notes(comparison):
    return " | ".join(comparison.notes["note"])


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


@pytest.fixture
def four(sweep):
    """A baseline, and entries that are better, worse and alike, of which two were ablated."""
    sweep.confirm("cross_entropy", BASE)
    sweep.confirm("label_smoothing", BETTER, searched={"smoothing": 0.1})
    sweep.confirm("label_smoothing", ALIKE, stage="ablate")
    sweep.confirm("bad", WORSE, method="confidence_penalty")
    sweep.confirm("bad", BASE, stage="ablate", method="confidence_penalty")
    sweep.confirm("alike", ALIKE, method="confidence_penalty")
    return sweep


def test_estimate_is_the_t_interval():
    found = estimate(BASE)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(BASE), scale=stats.sem(BASE))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.std == pytest.approx(np.std(BASE, ddof=1))


@pytest.mark.parametrize("values", [[], [0.5]])
def test_too_few_values_have_no_interval(values):
    found = estimate(values)
    assert found.n == len(values)
    assert math.isnan(found.low)
    assert math.isnan(found.std)


def test_paired_uses_common_seeds_only():
    found = paired({1: 0.9, 2: 0.8, 3: 0.7}, {2: 0.6, 3: 0.65, 4: 0.1})
    assert found.differences == pytest.approx({2: 0.2, 3: 0.05})
    assert found.p == pytest.approx(stats.ttest_rel([0.8, 0.7], [0.6, 0.65]).pvalue)


def test_paired_degenerate_differences_do_not_crash():
    series = {1: 0.1, 2: 0.2, 3: 0.3}
    assert paired(series, series).p == 1
    assert paired(series, {seed: value + 1e-17 for seed, value in series.items()}).p == 1
    shifted = paired({1: 0.4, 2: 0.5, 3: 0.6}, series)
    assert math.isnan(shifted.p)
    assert shifted.estimate.mean == pytest.approx(0.3)
    assert paired({}, series).estimate.n == 0


def test_holm_is_that_of_statsmodels_and_passes_nan_over():
    p = [0.01, math.nan, 0.04, 0.03]
    found = holm(p)
    assert found[0] == pytest.approx(0.03)  # 3 · 0.01
    assert found[3] == pytest.approx(0.06)  # 2 · 0.03
    assert found[2] == pytest.approx(0.06)  # max(0.06, 1 · 0.04)
    assert math.isnan(found[1])
    assert holm([]) == []


# Demšar (2006), table 6: AUC ranks of four variants of C4.5 on 14 data sets, given as scores of which smaller is better.
DEMSAR = pd.DataFrame(
    [[4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1], [2.5, 2.5, 4, 1],
     [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2]],
    columns=["C4.5", "+m", "+cf", "+m+cf"],
)  # fmt: skip


def test_ranks_of_demsar():
    assert average_ranks(DEMSAR, "min").round(3).tolist() == [3.143, 2.000, 2.893, 1.964]
    assert average_ranks(-DEMSAR, "max").round(3).tolist() == [3.143, 2.000, 2.893, 1.964]


def test_friedman_of_demsar():
    # His 9.28 is not corrected for ties: 3 pairs (6 each) and one group of four (60), out of N k (k² - 1) = 840.
    statistic, p = friedman(DEMSAR)
    assert statistic * (1 - 78 / 840) == pytest.approx(9.28, abs=0.01)
    assert p == pytest.approx(stats.chi2.sf(statistic, 3))


def test_critical_difference_of_demsar():
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)  # 2.569 √(4 · 5 / (6 · 14))
    assert critical_difference(5, 30) == pytest.approx(2.728 * math.sqrt(5 * 6 / (6 * 30)), rel=1e-3)  # his table 5


def test_friedman_degenerate():
    assert friedman(pd.DataFrame({"a": [1, 2], "b": [1, 2], "c": [1, 2]})) == (0.0, 1.0)
    assert all(map(math.isnan, friedman(pd.DataFrame({"a": [1, 2], "b": [2, 3]}))))


def test_compare_against_scipy_and_statsmodels(four):
    found = compare(four.records)
    raw = {
        name: stats.ttest_rel(values, BASE).pvalue
        for name, values in (("alike", ALIKE), ("bad", WORSE), ("label_smoothing", BETTER))
    }
    corrected = dict(zip(raw, multipletests(list(raw.values()), method="holm")[1], strict=True))
    assert corrected["bad"] < 0.05 < corrected["alike"]
    # Holm's steps: the smallest p against a third of 5 %, the next against a half; what is not rejected has Bonferroni's third.
    step = {name: 0.05 / (3 - place) for place, name in enumerate(sorted(raw, key=raw.get))} | {"alike": 0.05 / 3}
    for name, values in (("alike", ALIKE), ("bad", WORSE), ("label_smoothing", BETTER)):
        row = entry(found, name)
        difference = np.subtract(values, BASE)
        low, high = stats.t.interval(1 - step[name], 4, loc=difference.mean(), scale=stats.sem(difference))
        assert row["difference_p"] == pytest.approx(raw[name])
        assert row["difference_p_holm"] == pytest.approx(corrected[name])
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high))
        assert row["mean"] == pytest.approx(np.mean(values))
    assert entry(found, "label_smoothing")["difference_verdict"] == "better"
    assert entry(found, "bad")["difference_verdict"] == "worse"
    assert entry(found, "alike")["difference_verdict"] == "no difference shown at 5 seeds"
    assert entry(found, "cross_entropy")["difference_verdict"] == "baseline"
    assert list(found.entries["entry"]) == ["label_smoothing", "cross_entropy", "alike", "bad"]


def test_average_ranks_over_seeds(four):
    # By hand: label_smoothing is first and bad last at every seed; alike beats the baseline at seeds 1000 and 1002.
    found = compare(four.records).entries.set_index("entry")["rank"]
    assert found.to_dict() == pytest.approx({"label_smoothing": 1, "cross_entropy": 2.4, "alike": 2.6, "bad": 4})


def test_ablation_has_its_own_holm_family(four):
    found = compare(four.records)
    raw = [stats.ttest_rel(WORSE, BASE).pvalue, stats.ttest_rel(BETTER, ALIKE).pvalue]
    corrected = multipletests(raw, method="holm")[1]
    assert entry(found, "bad")["ablation_p_holm"] == pytest.approx(corrected[0])
    assert entry(found, "label_smoothing")["ablation_p_holm"] == pytest.approx(corrected[1])
    assert entry(found, "label_smoothing")["ablation_verdict"] == "helps"
    assert entry(found, "bad")["ablation_verdict"] == "hurts"
    assert entry(found, "alike")["ablation_verdict"] == "not ablated"
    assert entry(found, "cross_entropy")["ablation_verdict"] == "has no weights"


def test_secondary_metrics_have_estimates(four):
    found = compare(four.records).metrics
    row = found[(found["entry"] == "bad") & (found["stage"] == "confirm") & (found["metric"] == "nll")].iloc[0]
    assert row["mode"] == "min"
    assert row["mean"] == pytest.approx(1 - np.mean(WORSE))
    assert row["n"] == 5


def test_lower_is_better_for_an_unknown_track_and_method(tmp_path):
    sweep = Sweep(tmp_path, track="astrology", objectives=("val/regret",), modes=("min",))
    for name, values in (("mine", WORSE), ("yours", BETTER)):
        sweep.confirm(name, values, method=f"method_{name}", metric="regret")
        sweep.confirm(name, BASE, stage="ablate", method=f"method_{name}", metric="regret")
    found = compare(sweep.records)
    assert list(found.entries["entry"]) == ["mine", "yours"]
    assert set(found.entries["mode"]) == {"min"}
    assert entry(found, "mine")["ablation_verdict"] == "helps"
    assert entry(found, "yours")["ablation_verdict"] == "hurts"
    assert entry(found, "mine")["difference_verdict"] == "no confirmed baseline"
    assert "no paired differences" in notes(found)


def test_missing_seed_is_paired_over_the_others_and_noted(four):
    four.confirm("partial", BETTER[:3], seeds=SEEDS[2:], method="label_smoothing")
    four.trial("partial", "confirm", 3, [], method="label_smoothing", seed=1000, status="failed", reason="DivergedError: nan")
    found = compare(four.records)
    row = entry(found, "partial")
    assert row["difference_pairs"] == 3
    assert row["difference_value"] == pytest.approx(np.mean(np.subtract(BETTER[:3], BASE[2:])))
    assert "no result for seed 1000, 1001" in notes(found)
    assert "ranks are over the 3 of 5 seeds" in notes(found)
    assert found.failures["reason"].tolist() == ["DivergedError: nan"]


def test_one_seed_has_no_interval_and_no_test(sweep):
    sweep.confirm("cross_entropy", [0.9], seeds=[1000])
    sweep.confirm("label_smoothing", [0.95], seeds=[1000])
    row = entry(compare(sweep.records), "label_smoothing")
    assert row["difference_value"] == pytest.approx(0.05)
    assert math.isnan(row["low"])
    assert math.isnan(row["difference_p_holm"])
    assert row["difference_verdict"] == "not tested: 1 seed"
    assert "one seed only" in notes(compare(sweep.records))


def test_identical_and_constant_differences(sweep):
    sweep.confirm("cross_entropy", BASE)
    sweep.confirm("same", BASE, method="label_smoothing")
    sweep.confirm("shifted", [value + 0.01 for value in BASE], method="label_smoothing")
    sweep.confirm("fixed", [0.5] * 5, method="label_smoothing")
    found = compare(sweep.records)
    assert entry(found, "same")["difference_verdict"] == "identical at 5 seeds"
    assert entry(found, "same")["difference_p"] == 1
    assert entry(found, "shifted")["difference_verdict"] == "better by the same amount at all 5 seeds: nothing to test"
    assert math.isnan(entry(found, "shifted")["difference_p_holm"])
    assert entry(found, "fixed")["low"] == entry(found, "fixed")["high"] == 0.5
    assert "gives the same test/accuracy at every seed" in notes(found)


def test_without_confirmation_only_validation_is_shown(sweep):
    sweep.tune("label_smoothing", 9, stopped=(3, 4))
    sweep.tune("cross_entropy", 4, space={"learning_rate": SMOOTHING})
    sweep.describe()
    found = compare(sweep.records)
    row = entry(found, "label_smoothing")
    tuned = [r for r in sweep.records.trials().to_pylist() if r["entry"] == "label_smoothing" and r["status"] == "completed"]
    best = max(tuned, key=lambda r: r["values"][0])
    assert not row["confirmed"]
    assert math.isnan(row["mean"])
    assert row["tuned_value"] == best["values"][0]
    assert json.loads(row["configuration"]) == json.loads(best["searched"])
    assert (row["completed"], row["stopped"], row["failed"]) == (7, 2, 0)
    assert row["tuning_seconds"] == pytest.approx(7 * 1.5 + 2 * 0.5)
    assert row["difference_verdict"] == "not confirmed"
    assert "no test result" in notes(found)
    assert "not at equal numbers of tuning trials" in notes(found)
    assert found.metrics.empty


def test_notes_say_how_many_trials_ended_and_warn_where_nothing_but_the_defaults_did(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.tune("cross_entropy", 4, space={}, stopped=(3,))
    default = {"searched": {"smoothing": method_class("label_smoothing")().smoothing}}
    values = [{"val/accuracy": 0.9, "val/nll": 0.3}]
    sweep.trial("label_smoothing", "tune", 0, values * 3, **default)
    for number in (1, 2):
        sweep.trial("label_smoothing", "tune", number, values, searched={"smoothing": 0.3}, status="stopped")
    sweep.describe()
    found = compare(sweep.records)
    notes = {row["entry"]: row["note"] for row in found.notes.to_dict("records") if "trained to the end" in row["note"]}
    assert notes[""] == "trained to the end, and therefore to choose from: cross_entropy 3 of 4, label_smoothing 1 of 3"
    assert "only its default settings trained to the end" in notes["label_smoothing"]
    assert "cross_entropy" not in notes


def test_nothing_ended(sweep):
    found = compare(sweep.records)
    assert found.tables() == []
    assert "nothing to compare" in shown_text(found)


def test_all_trials_failed(sweep):
    sweep.trial("label_smoothing", "tune", 0, [], status="failed", reason="DataError: no file")
    found = compare(sweep.records)
    assert math.isnan(entry(found, "label_smoothing")["tuned_value"])
    assert "no tuning trial was trained to its end" in notes(found)


def test_confirmation_without_the_test_metric_is_said(sweep):
    sweep.trial("label_smoothing", "confirm", 0, [{"val/accuracy": 0.9}], seed=1000)
    assert "report no test/accuracy" in notes(compare(sweep.records))


def test_two_sweeps_keep_their_entries_apart(tmp_path):
    for name, shift in (("old", 0.0), ("new", 0.05)):
        sweep = Sweep(tmp_path, name)
        sweep.confirm("cross_entropy", [value + shift for value in BASE])
        sweep.confirm("label_smoothing", [value + shift for value in BETTER])
    other = Sweep(tmp_path, "third")
    other.confirm("confidence_penalty", WORSE)
    found = compare([Records(Storage(tmp_path / name)) for name in ("old", "new", "third")])
    assert set(found.sweeps["sweep"]) == {"old", "new", "third"}
    # Each against the baseline of its own sweep; the third, which has none, against the first one's.
    expected = np.mean(np.subtract(BETTER, BASE))
    assert entry(found, "label_smoothing (old)")["difference_value"] == pytest.approx(expected)
    assert entry(found, "label_smoothing (new)")["difference_value"] == pytest.approx(expected)
    assert entry(found, "confidence_penalty")["difference_value"] == pytest.approx(np.mean(np.subtract(WORSE, BASE)))
    assert "of another sweep, old" in notes(found)


def test_a_confirmation_on_a_seed_of_tuning_confirms_nothing(tmp_path):
    """Older versions let a suite's seed be one of those that confirm: the chosen trial again, number for number."""
    stale, fresh = Sweep(tmp_path, "stale"), Sweep(tmp_path, "fresh")
    for sweep, seed in ((stale, 1000), (fresh, 0)):
        for entry_name, values in (("cross_entropy", BASE), ("label_smoothing", BETTER)):
            sweep.trial(entry_name, "tune", 0, [{"val/accuracy": 0.9}] * 3, seed=seed)
            sweep.confirm(entry_name, values)
        sweep.confirm("label_smoothing", ALIKE, stage="ablate")
    said = "confirmed on seed 1000 too, with which its sweep was tuned"
    alone = compare(stale.records)
    assert notes(alone).count(said) == 2
    row = entry(alone, "label_smoothing")
    assert (row["n"], row["difference_pairs"], row["ablation_pairs"]) == (4, 4, 4)
    assert row["mean"] == pytest.approx(np.mean(BETTER[1:]))
    assert set(alone.seeds["seed"]) == set(SEEDS[1:])
    assert said not in notes(compare(fresh.records))
    both = compare([stale.records, fresh.records])
    counts = {name: entry(both, name)["n"] for name in both.entries["entry"]}
    assert counts == {f"{name} ({place})": count for name in ("cross_entropy", "label_smoothing")
                      for place, count in (("stale", 4), ("fresh", 5))}  # fmt: skip
    only = Sweep(tmp_path, "only")
    only.trial("label_smoothing", "tune", 0, [{"val/accuracy": 0.9}] * 3, seed=1000)
    only.confirm("label_smoothing", [0.95], seeds=[1000])
    found = compare(only.records)
    assert not entry(found, "label_smoothing")["confirmed"]
    assert said in notes(found)
    assert "report no" not in notes(found)


def test_two_objectives_give_a_front_that_nothing_dominates(tmp_path):
    sweep = Sweep(tmp_path, objectives=("val/accuracy", "val/nll"), modes=("max", "min"))
    points = [(0.9, 0.5), (0.8, 0.3), (0.85, 0.6), (0.9, 0.4), (0.7, 0.3)]
    for number, (accuracy, nll) in enumerate(points):
        sweep.trial("label_smoothing", "tune", number, [{"val/accuracy": accuracy, "val/nll": nll}])
    found = compare(sweep.records).trade_offs
    assert found["front"].tolist() == [False, True, False, True, False]
    assert found.iloc[0][["first", "second"]].tolist() == ["val/accuracy", "val/nll"]


def test_a_sweep_of_one_objective_does_not_hide_the_trade_off_of_another(tmp_path):
    one = Sweep(tmp_path, "one")
    one.trial("cross_entropy", "tune", 0, [{"val/accuracy": 0.9, "val/nll": 0.1}])
    two = Sweep(tmp_path, "two", objectives=("val/accuracy", "val/nll"), modes=("max", "min"))
    two.trial("label_smoothing", "tune", 0, [{"val/accuracy": 0.8, "val/nll": 0.3}])
    found = compare([one.records, two.records]).trade_offs
    assert found["entry"].tolist() == ["label_smoothing"]
    assert found["front"].tolist() == [True]


def test_a_track_may_name_what_is_traded_off(tmp_path):
    """Privacy against utility, whatever the trials were tuned for."""
    sweep = Sweep(tmp_path, track="privacy", objectives=("val/protected_error",))
    for number, (error, accuracy) in enumerate([(0.1, 0.9), (0.2, 0.8), (0.05, 0.85)]):
        metrics = {"val/protected_error": 0.0, "val/averaged_inversion_error": error, "val/accuracy": accuracy}
        sweep.trial("uniform_mixing", "tune", number, [metrics], data="private_digits")
    found = compare(sweep.records).trade_offs
    assert found["front"].tolist() == [True, True, False]
    assert found[["first_value", "second_value"]].values.tolist() == [[0.1, 0.9], [0.2, 0.8], [0.05, 0.85]]
    assert found.iloc[0][["first", "second"]].tolist() == ["val/averaged_inversion_error", "val/accuracy"]


def test_sensitivity_lists_every_searched_value(sweep):
    sweep.tune("label_smoothing", 6, stopped=(1,))
    sweep.describe()
    found = compare(sweep.records).sensitivity
    weight = found[found["setting"] == "smoothing"]
    assert len(weight) == 6
    assert weight["weight"].all()
    assert weight["log"].all()
    assert set(weight["symbol"]) == {"ε"}
    assert (weight["status"] == "stopped").sum() == 1
    other = found[found["setting"] == "optimizer"]
    assert set(other["value"]) == {"sgd", "adam"}
    assert other["number"].isna().all()
    assert not other["weight"].any()


def test_importance_finds_the_setting_that_matters(sweep):
    sweep.tune("label_smoothing", 12)
    sweep.tune("alone", 9, space={"smoothing": SMOOTHING}, method="label_smoothing")
    sweep.tune("few", 5, method="label_smoothing")
    sweep.tune("flat", 8, space={"optimizer": CategoricalDistribution(["sgd", "adam"])}, method="label_smoothing")
    sweep.describe()
    found = compare(sweep.records).importance
    shares = found[found["entry"] == "label_smoothing"].set_index("setting")["importance"]
    assert shares.sum() == pytest.approx(1)
    assert shares["smoothing"] > 0.8
    assert found[found["entry"] == "alone"]["importance"].tolist() == [1.0]
    missing = found.set_index("entry")["missing"]
    assert missing["few"] == "fewer than 8 fully trained trials inside the search space"
    assert missing["flat"] == "all 8 fully trained trials have the same val/accuracy"


def test_importance_says_that_the_space_is_unknown(sweep):
    sweep.tune("label_smoothing", 9)
    assert "does not tell its search space" in compare(sweep.records).importance["missing"][0]


def test_curves_are_those_of_the_confirmed_configurations(four):
    found = compare(four.records).curves
    assert len(found) == 4 * 5 * 3
    one = found[(found["entry"] == "cross_entropy") & (found["seed"] == 1000)]
    assert one["value"].tolist() == pytest.approx([0.71, 0.81, 0.91])
    assert set(one["metric"]) == {"val/accuracy"}


def test_ranks_over_data_sets(sweep):
    means = {"cross_entropy": [0.80, 0.70, 0.60], "label_smoothing": [0.90, 0.75, 0.55], "extra": [0.95, 0.80, 0.70]}
    for name, values in means.items():
        for data, value in zip(("digits", "digits_noisy", "digits_noisy40"), values, strict=True):
            sweep.confirm(
                name, [value, value + 0.01], seeds=[1, 2], data=data, method="confidence_penalty" if name == "extra" else name
            )
    sweep.confirm("partial", [0.5, 0.6], seeds=[1, 2], method="label_smoothing")
    found = compare(sweep.records)
    # By hand: extra is always first; the other two share places 2, 2, 3 and 3, 3, 2. χ² = 12/(3·3·4) ΣR² - 3·3·4, R = 3, 7, 8.
    assert found.ranks.set_index("entry")["rank"].to_dict() == pytest.approx(
        {"extra": 1, "label_smoothing": 7 / 3, "cross_entropy": 8 / 3}
    )
    row = found.friedman.iloc[0]
    assert row["statistic"] == pytest.approx(12 / 36 * (9 + 49 + 64) - 36)
    assert row["p"] == pytest.approx(stats.chi2.sf(row["statistic"], 2))
    assert row["critical_difference"] == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 3)), rel=1e-3)
    assert "not ranked over data sets, for want of a confirmed result on each: partial" in notes(found)


def test_write_gives_csv_and_parquet_of_every_table(four, tmp_path):
    found = compare(four.records)
    found.write(Storage(tmp_path / "out"))
    for name, columns in FRAMES.items():
        back = pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        pd.testing.assert_frame_equal(back, getattr(found, name), check_dtype=name != "sweeps")
        assert list(pd.read_csv(tmp_path / "out" / f"{name}.csv").columns) == list(columns)


def shown_text(comparison, width=100):
    """What the terminal shows."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(tables.terminal(comparison))
    return console.file.getvalue()


def test_terminal_fits_100_columns_and_shows_every_entry(four):
    four.confirm("[b]odd[/b]", ALIKE, method="confidence_penalty")
    four.tune("late", 3, method="label_smoothing")
    shown = shown_text(compare(four.records))
    assert max(map(len, shown.splitlines())) <= 100
    for name in (
        "cross_entropy",
        "label_smoothing",
        "bad",
        "alike",
        "[b]odd[/b]",
        "late",
        "NOT CONFIRMED",
        "effect of",
        "better",
        "+0.0244 helps",
    ):
        assert name in shown
    places = [shown.index(f"\n {name} ") for name in ("label_smoothing", "cross_entropy", "bad")]
    assert all(first < second for first, second in pairwise(places))


@pytest.mark.parametrize(
    ("mean", "low", "high", "shown"),
    [
        (0.91234, 0.9, 0.92468, "0.912 ± 0.012"),
        (123.4, 100.0, 146.8, "123 ± 23"),
        (0.5, 0.5, 0.5, "0.5000 ± 0.0000"),
        (0.5, math.nan, math.nan, "0.5"),
        (1.39e-5, 1.1e-5, 1.68e-5, "1.39e-05 ± 2.9e-06"),
    ],
)
def test_numbers_have_the_decimals_that_their_interval_bears(mean, low, high, shown):
    assert text.mean_text(mean, low, high) == shown


def test_other_texts():
    assert text.difference_text(0.0123, 0.001, 0.0236) == "+0.012 [+0.001, +0.024]"
    assert text.difference_text(1.39e-5, 1.1e-5, 1.68e-5) == "+1.39e−05 [+1.10e−05, +1.68e−05]"
    assert text.p_text(1e-9) == "<0.001"
    assert text.p_text(math.nan) == text.NONE
    assert (text.duration(5), text.duration(90), text.duration(7200)) == ("5 s", "1.5 min", "2.0 h")
    assert text.configuration_text('{"a": 0.123456, "b": "adam"}') == "a=0.1235, b=adam"


def test_no_warnings_reach_the_user(four):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        four.tune("label_smoothing", 9)
        four.describe()
        compare(four.records)
    assert [str(item.message) for item in caught] == []


RATE = FloatDistribution(0.01, 0.2, log=True)


def unlike(sweep, spaces, settings=None, methods=None, **more):
    """The notes of a comparison of entries with these spaces, whose settings otherwise are these."""
    for name, space in spaces.items():
        method = (methods or {}).get(name, name)
        searched = dict.fromkeys(space, 0.1)
        own = {"learning_rate": 0.05, "weight_decay": 5e-4, "smoothing": 0.1} | (settings or {}).get(name, {})
        sweep.confirm(name, BASE, method=method, searched=searched, settings=own)
        sweep.tune(name, 4, space=space, method=method, settings=own)
        sweep.studies[-1] |= more.get(name, {})
    sweep.describe()
    found = compare(sweep.records).notes
    return {row["entry"]: row["note"] for row in found.to_dict("records") if "do not search alike" in row["note"]}


def test_entries_that_search_what_they_share_with_the_baseline_alike_get_no_note(sweep):
    spaces = {"cross_entropy": {"learning_rate": RATE}, "label_smoothing": {"learning_rate": RATE, "smoothing": RATE}}
    assert not unlike(sweep, spaces)


def test_unequal_ranges_of_shared_settings_are_noted(sweep):
    spaces = {
        "cross_entropy": {"learning_rate": RATE},
        "label_smoothing": {"learning_rate": FloatDistribution(0.01, 0.5, log=True)},
        "fixed": {"smoothing": RATE},
        "more": {"learning_rate": RATE, "weight_decay": RATE},
    }
    methods = {"fixed": "label_smoothing", "more": "label_smoothing"}
    found = unlike(sweep, spaces, {"fixed": {"learning_rate": 0.07}}, methods)
    prefix = "shares settings with cross_entropy that the two do not search alike: "
    assert found == {
        "label_smoothing": f"{prefix}learning_rate 0.01 … 0.5 log, there 0.01 … 0.2 log",
        "fixed": f"{prefix}learning_rate fixed at 0.07, there 0.01 … 0.2 log",
        "more": f"{prefix}weight_decay 0.01 … 0.2 log, there fixed at 0.0005",
    }


def test_conditions_grids_and_odds_of_shared_settings_count(sweep):
    choices = CategoricalDistribution([0.1, 0.2])
    spaces = {key: {"learning_rate": RATE, "weight_decay": choices} for key in ("cross_entropy", "label_smoothing")}
    more = {"label_smoothing": {"steps": {"learning_rate": 0.01}, "odds": {"weight_decay": [0.9, 0.1]}}}
    (note,) = unlike(sweep, spaces, **more).values()
    assert "learning_rate 0.01 … 0.2 log, step 0.01, there 0.01 … 0.2 log" in note
    assert "weight_decay 0.1 (90%), 0.2 (10%), there 0.1, 0.2" in note


def test_importance_leaves_out_what_is_searched_under_a_condition_and_says_so(sweep):
    choices = CategoricalDistribution(["sgd", "adam"])
    for number in range(12):
        adam = number % 2
        searched = {"optimizer": choices.choices[adam]} | ({"gradient_clip": 0.1 * number} if adam else {})
        sweep.trial("cross_entropy", "tune", number, [{"val/accuracy": 0.5 + 0.1 * adam, "val/nll": 1.0}], searched=searched)
    space = {"optimizer": choices, "gradient_clip": FloatDistribution(0.0, 2.0)}
    sweep.studies.append({
        "entry": "cross_entropy", "data": "digits", "when": {"gradient_clip": {"optimizer": ["adam"]}},
        "space": {name: distribution_to_json(limits) for name, limits in space.items()},
    })  # fmt: skip
    sweep.describe()
    found = compare(sweep.records).importance
    assert found["setting"].tolist() == ["optimizer", ""]
    assert "of gradient_clip: searched under a condition" in found["missing"].tolist()[1]
