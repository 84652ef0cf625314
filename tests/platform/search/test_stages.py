"""Choice, replicates, and running until it is decided: what is trained, and when it is enough."""

import hashlib
import json
import math
import random

import pytest
from simulated import Simulated

from regbench.methods.errors import ConfigError
from regbench.platform.comparison.compare import compare
from regbench.platform.provenance import describe
from regbench.platform.records.records import COMPARED
from regbench.platform.status import SweepStatus
from regbench.platform.suite.spec import parse_suite
from regbench.platform.undecided import undecided

UNTIL = {"until": "decided", "at_most": 30, "relevant": 0.01, "confirm": {"seeds": 5}}
REPLICATED = {"replicates": 3, "confirm": {"seeds": 2}, "choose": {"top": 2, "seeds": 1}}
THREE = {"methods": ["label_smoothing", "mixup"]}


def noise(*parts: object, sd: float = 0.01) -> float:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return random.Random(digest).gauss(0, sd)


def steady(effects, sd=0.01):
    """Accuracies with an effect of the entry, and noise of its own at every seed."""

    def value(trial):
        effect = 0.0 if trial.stage == "ablate" else effects.get(trial.entry, 0.0)
        return 0.8 + effect + noise(trial.entry, trial.stage, trial.seed, json.dumps(trial.searched), sd=sd)

    return value


def verdicts(sweep):
    sweep.records.storage.write("suite.json", json.dumps(describe(sweep.suite, sweep.studies)).encode())
    rows = compare(sweep.records).entries.set_index("entry").fillna(0.0)
    kept = [
        "mean",
        "difference_value",
        "difference_low",
        "difference_high",
        "difference_p_holm",
        "difference_verdict",
        "difference_pairs",
    ]
    return rows[[*kept, *(name.replace("difference", "ablation") for name in kept[1:])]].to_dict("index")


def test_the_best_few_are_trained_on_further_seeds_and_the_best_mean_is_confirmed(tmp_path):
    """The best tuning trial was lucky: on further seeds of tuning the second is best."""
    lucky = {0: 0.90, 1: 0.85, 2: 0.84, 3: 0.10}

    def value(trial):
        if trial.stage == "tune":
            return lucky[trial.number]
        number = trial.number if trial.confirms is None else trial.confirms
        return {0: 0.80, 1: 0.86, 2: 0.83}[number] + 0.001 * (trial.seed % 2)

    sweep = Simulated(
        tmp_path, value, methods=["label_smoothing"], trials=4, choose={"top": 3, "seeds": 2}, confirm={"seeds": 2}
    ).run()
    chosen = [row for row in sweep.ended("choose") if row["entry"] == "label_smoothing"]
    assert sorted((row["confirms"], row["seed"]) for row in chosen) == [(n, seed) for n in (0, 1, 2) for seed in (1, 2)]
    assert {row["confirms"] for row in sweep.ended("confirm") + sweep.ended("ablate")} == {1}
    assert all(row["metrics"] == [("val/accuracy", pytest.approx(row["values"][0]))] for row in chosen), (
        "test data stays unseen"
    )


def test_a_configuration_that_fails_at_a_seed_of_the_choice_loses(tmp_path):
    def value(trial):
        if trial.stage == "choose" and trial.confirms == 0 and trial.seed == 2:
            return math.nan
        return 0.9 - 0.01 * (trial.number if trial.stage == "tune" else trial.confirms)

    keys = {"choose": {"top": 2, "seeds": 2}, "confirm": {"seeds": 1}}
    sweep = Simulated(tmp_path, value, methods=["label_smoothing"], **keys).run()
    assert {row["confirms"] for row in sweep.ended("confirm")} == {1}


def test_a_replicate_has_seeds_of_its_own_and_its_own_choice(tmp_path):
    def value(trial):
        return 0.8 + 0.1 * ((trial.number if trial.stage == "tune" else trial.confirms) == trial.replicate)

    sweep = Simulated(tmp_path, value, **THREE, replicates=3, choose={"top": 2, "seeds": 2}, confirm={"seeds": 2}).run()
    rows = [row for row in sweep.ended() if row["entry"] == "mixup"]
    for replicate in range(3):
        own = [row for row in rows if row["replicate"] == replicate]
        assert {row["seed"] for row in own if row["stage"] == "tune"} == {3 * replicate}
        assert {row["seed"] for row in own if row["stage"] == "choose"} == {3 * replicate + 1, 3 * replicate + 2}
        assert {row["seed"] for row in own if row["stage"] == "confirm"} == {1000 + 2 * replicate, 1001 + 2 * replicate}
        assert {row["confirms"] for row in own if row["stage"] == "confirm"} == {replicate}
    drawn = {row["searched"] for row in rows if row["stage"] == "tune"}
    assert len(drawn) == 1 + 3 * 2, "the default, and each replicate's own draws"


def test_the_unit_of_tests_is_the_replicate(tmp_path):
    """Four seeds a replicate move together: sixteen seeds would show what four replicates do not."""

    def value(trial):
        return 0.8 + (noise(trial.entry, trial.replicate, sd=0.05) if trial.entry == "mixup" else 0) + noise(trial.key, sd=1e-4)

    found = verdicts(Simulated(tmp_path, value, **THREE, replicates=4, confirm={"seeds": 4}).run())
    assert found["mixup"]["difference_pairs"] == 4
    assert found["mixup"]["difference_verdict"] == "no difference shown at 4 replicates"


@pytest.mark.parametrize("by", [{}, {"replicates": 4, "confirm": {"seeds": 1}}])
def test_a_sweep_runs_until_each_comparison_is_decided(tmp_path, by):
    effects = {"label_smoothing": 0.04, "mixup": 0.0}
    sweep = Simulated(tmp_path, steady(effects, sd=0.004), **THREE, **UNTIL | by).run()
    found = verdicts(sweep)
    assert found["label_smoothing"]["difference_verdict"] == "better"
    assert found["label_smoothing"]["ablation_verdict"] == "helps"
    assert found["mixup"]["difference_verdict"] == "equivalent"
    assert found["mixup"]["ablation_verdict"] == "equivalent"
    assert found["label_smoothing"]["difference_pairs"] < found["mixup"]["difference_pairs"] <= 30
    trained = {
        (entry, stage): sum(row["entry"] == entry and row["stage"] == stage for row in sweep.ended())
        for entry in ("cross_entropy", "label_smoothing", "mixup")
        for stage in ("confirm", "ablate")
    }
    # What is decided is trained no more, but for what was ahead: a trial a worker.
    assert trained["label_smoothing", "confirm"] <= found["label_smoothing"]["difference_pairs"] + 2
    assert trained["cross_entropy", "confirm"] >= found["mixup"]["difference_pairs"]
    for row in found.values():
        decided = not row["difference_low"] <= 0 <= row["difference_high"]
        assert decided == (row["difference_verdict"] in ("better", "worse")), "an interval never contradicts its verdict"


@pytest.mark.parametrize("by", [{}, REPLICATED])
def test_neither_order_nor_workers_nor_an_interruption_change_the_outcome(tmp_path, by):
    value, keys = steady({"label_smoothing": 0.02, "mixup": 0.005}, sd=0.005), THREE | UNTIL | {"at_most": 12} | by
    runs = [
        Simulated(tmp_path / str(order), value, **keys, workers=workers, order=order) for order, workers in enumerate((1, 2, 7))
    ]
    expected, *others = [verdicts(run.run()) for run in runs]
    assert {row["difference_verdict"] for row in expected.values()} > {"better"}
    cut = Simulated(tmp_path / "cut", value, **keys, workers=3).run(most=35)
    while not cut.search.done:
        cut = cut.resumed(order=5).run(most=25)
    assert verdicts(cut) == expected
    assert others == [expected, expected]


def test_what_is_not_decided_ends_at_its_limit(tmp_path):
    suite = UNTIL | {"at_most": 8, "relevant": 0.0001}
    found = verdicts(Simulated(tmp_path, steady({}), **THREE, **suite).run())
    assert {row["difference_verdict"] for name, row in found.items() if name != "cross_entropy"} == {"undecided at 8 seeds"}


@pytest.mark.parametrize(("by", "units"), [({}, "5 of at most 30 seeds"), (REPLICATED, "3 of at most 30 replicates")])
def test_status_says_what_is_not_decided_and_why(tmp_path, by, units):
    sweep = Simulated(tmp_path, steady({"label_smoothing": 0.01}), **THREE, **UNTIL | by, workers=1)
    while sweep.search.total > len(sweep.ended()):
        sweep.end(sweep.search.next())
    described = [study.describe() for study in sweep.studies]
    rows = sweep.records.summary(*COMPARED)
    told = undecided(described, sweep.suite.model_dump(), rows)
    assert len(told) == len(sweep.search.open()) >= 2
    assert all(line.startswith("not decided: ") and units in line for line in told)
    assert any("against its weights off" in line for line in told)
    sweep.records.storage.write("suite.json", json.dumps(describe(sweep.suite, sweep.studies)).encode())
    assert SweepStatus("sweep", sweep.records).state != "complete"
    sweep.resumed().run()
    assert SweepStatus("sweep", sweep.records).state == "complete"
    assert SweepStatus("sweep", sweep.records).open == []


def test_a_sweep_with_more_replicates_keeps_those_that_it_had(tmp_path):
    value, keys = steady({"label_smoothing": 0.02}), THREE | {"confirm": {"seeds": 1}}
    small = Simulated(tmp_path / "grown", value, **keys, replicates=2).run()
    had = {row["key"] for row in small.ended()}
    grown = Simulated(tmp_path / "grown", value, **keys, replicates=4).run()
    assert had.isdisjoint(trial.key for trial in grown.handed)
    assert verdicts(grown) == verdicts(Simulated(tmp_path / "whole", value, **keys, replicates=4).run())


def test_an_amount_in_percent_is_one_of_the_baselines_mean(tmp_path):
    sweep = Simulated(tmp_path, steady({}, sd=0.002), **THREE, **UNTIL | {"relevant": "1%"}).run()
    assert verdicts(sweep)["mixup"]["difference_verdict"] == "equivalent"
    assert compare(sweep.records).entries["relevant"].to_list() == pytest.approx([0.008] * 3, rel=0.01)


def test_a_seed_that_the_baseline_or_an_entry_loses_is_left_out_on_both_sides(tmp_path):
    sound = steady({"label_smoothing": 0.05}, sd=0.005)

    def value(trial):
        lost = trial.stage == "confirm" and (trial.entry, trial.seed) in (("cross_entropy", 1001), ("mixup", 1003))
        return math.nan if lost else sound(trial)

    found = verdicts(Simulated(tmp_path, value, **THREE, **UNTIL).run())
    assert found["label_smoothing"]["difference_verdict"] == "better"
    assert found["mixup"]["difference_verdict"] == "equivalent"


def test_an_entry_that_fails_at_every_seed_is_given_up(tmp_path):
    sound = steady({"label_smoothing": 0.05})
    sweep = Simulated(
        tmp_path, lambda t: math.nan if t.entry == "mixup" and t.stage != "tune" else sound(t), **THREE, **UNTIL
    ).run()
    assert verdicts(sweep)["label_smoothing"]["difference_verdict"] == "better"
    assert sum(row["entry"] == "mixup" and row["stage"] == "confirm" for row in sweep.ended()) <= 7


def test_an_entry_that_cannot_be_tuned_holds_nobody_up(tmp_path):
    sound = steady({"label_smoothing": 0.05})
    for by in ({}, {"replicates": 3, "confirm": {"seeds": 1}}):
        folder = tmp_path / str(len(by))
        sweep = Simulated(folder, lambda t: math.nan if t.entry == "mixup" else sound(t), **THREE, **UNTIL | by).run()
        assert verdicts(sweep)["label_smoothing"]["difference_verdict"] == "better"


def test_entries_that_no_seed_moves_are_not_tested(tmp_path):
    """Each gives one value at every seed: more of the same would tell nothing."""
    sweep = Simulated(tmp_path, lambda t: 0.9 if t.entry == "mixup" else 0.8, **THREE, **UNTIL).run()
    found = verdicts(sweep)
    assert found["mixup"]["difference_verdict"] == "better by the same amount at all 6 seeds: nothing to test"
    assert found["label_smoothing"]["difference_verdict"] == "equivalent"
    assert sum(row["entry"] == "mixup" and row["stage"] == "confirm" for row in sweep.ended()) <= 7


def test_a_single_training_cannot_decide_anything_and_a_single_entry_has_nothing_to_decide(tmp_path):
    with pytest.raises(ConfigError, match="nothing to decide"):
        Simulated(tmp_path, steady({}), methods=["cross_entropy"], **UNTIL)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (
            {"until": "decided", "at_most": 3, "relevant": 0.01},
            "at_most is 3, below the 5 confirm.seeds that are run in any case",
        ),
        ({"until": "decided", "at_most": 3, "relevant": 0.01, "replicates": 4}, "below the 4 replicates"),
        ({"until": "decided", "at_most": 9}, "needs `relevant`, the smallest difference that would matter"),
        ({"until": "decided", "relevant": 0.1}, "needs `at_most`"),
        ({"relevant": -0.01}, "must be a positive number or percentage"),
        ({"relevant": "-1%"}, "must be a positive number or percentage"),
        ({"relevant": "some"}, "neither a number nor a percentage"),
        ({"at_most": 9}, "set until, or leave at_most out"),
        ({"resplit": True}, "set replicates to 2 or more"),
        ({"replicates": 2, "confirm": {"seeds": 0}}, "set confirm.seeds to 1 or more"),
        ({"until": "decided", "at_most": 9, "relevant": 0.1, "confirm": {"seeds": 1}}, "set confirm.seeds to 2 or more"),
        ({"until": "soon"}, "decided"),
        ({"choose": {"top": 1}}, "top"),
        (UNTIL | {"scheduler": "pbt", "sampler": "random"}, "takes a whole population at once"),
    ],
)
def test_designs_that_decide_nothing_are_refused_in_a_line(keys, reason):
    with pytest.raises(ConfigError) as caught:
        parse_suite({"name": "wrong", "methods": ["mixup"]} | keys)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
