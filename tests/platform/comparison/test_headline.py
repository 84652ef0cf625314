"""The sentence that answers: each of its ends, from tables of a comparison alone."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from test_compare import ALIKE, BASE, BETTER, WORSE, Sweep

from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.headline import headline, overview

PLACE = ("classification", "digits")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A baseline, one entry that is better and one that is worse."""
    sweep = Sweep(tmp_path_factory.mktemp("sweep"))
    sweep.confirm("cross_entropy", BASE)
    sweep.tune("label_smoothing", 1)
    sweep.confirm("label_smoothing", BETTER)
    sweep.confirm("label_smoothing", ALIKE, stage="ablate")
    sweep.confirm("mixup", WORSE)
    return compare(sweep.records)


def said(found, **changes):
    """The headline after changes to columns: ``{entry: value}`` or one value for all."""
    entries = found.entries.copy()
    for column, values in changes.items():
        for entry in entries["entry"]:
            value = values.get(entry) if isinstance(values, dict) else values
            if value is not None:
                entries.loc[entries["entry"] == entry, column] = value
    return headline(replace(found, entries=entries), *PLACE)


def test_a_winner_is_named_with_weights_size_certainty_cost_and_what_its_weights_do(found):
    (weight,) = found.weights.query("entry == 'label_smoothing'")["number"]
    row = found.entries.set_index("entry").loc["label_smoothing"]
    difference, effect = (
        f"+{row[f'{of}_value']:.4f} [{row[f'{of}_low']:+.4f}, {row[f'{of}_high']:+.4f}]" for of in ("difference", "ablation")
    )
    assert said(found, cost=1.25) == (
        f"label_smoothing with ε = {weight:.3g} is better than cross_entropy on digits: {difference} test accuracy, "
        "p < 0.001 (Holm-corrected) over 5 seeds, at 1.25 × the cost of training. Its weights help by themselves: "
        f"{effect} against the same with them off."
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("no effect shown at 5 seeds", "That its weights do it is not shown"),
        ("hurts", "But not by its weights"),
        ("equivalent", "But not by its weights"),
        ("not ablated", "Whether its weights do it was not measured"),
    ],
)
def test_a_gain_that_is_not_the_weights_own_is_said(found, verdict, words):
    assert words in said(found, ablation_verdict={"label_smoothing": verdict})


def test_the_largest_gain_wins_whichever_way_is_good(found):
    both = {"label_smoothing": "better", "mixup": "better"}
    assert said(found, difference_verdict=both).startswith("label_smoothing")
    assert "Also better: mixup" in said(found, difference_verdict=both)
    assert said(found, difference_verdict=both, mode="min").startswith("mixup")


def test_how_sure_names_the_design_and_what_was_counted(found):
    told = said(found, design="until decided", unit="replicate", units=8, seeds=16)
    assert "(valid whenever one stops) over 8 replicates (16 seeds)" in told
    same = "better by the same amount at all 5 seeds: nothing to test"
    assert "by the same amount at all 5 seeds: nothing to test" in said(found, difference_verdict={"label_smoothing": same})


def test_nothing_helps_where_all_are_decided_otherwise(found):
    told = said(found, difference_verdict={"label_smoothing": "equivalent"}, relevant=0.03)
    assert told == (
        "Nothing helps on digits beside cross_entropy, over 5 seeds; worse than it: mixup; equivalent to it (within ±0.03): "
        "label_smoothing."
    )
    assert "equivalent" not in said(found, difference_verdict={"label_smoothing": "worse"})
    same = said(found, difference_verdict={"label_smoothing": "identical at 5 seeds"})
    assert same.endswith("worse than it: mixup; identical with it: label_smoothing.")


def test_what_is_open_is_named_with_its_interval_and_what_is_worse_beside_it(found):
    told = said(found, difference_verdict={"label_smoothing": "undecided at 5 seeds"})
    assert told.startswith("Not decided on digits: over 5 seeds, nothing is shown to be better than cross_entropy")
    assert "label_smoothing +0.0232 [" in told
    assert told.endswith("Worse: mixup.")
    assert "Not decided" in said(found, difference_verdict={"label_smoothing": "no difference shown at 5 seeds"})


def test_without_a_baseline_or_a_confirmation_nothing_is_claimed(found):
    assert "No confirmed baseline" in said(found, difference_pairs=0, difference_value=math.nan)
    assert "Nothing is confirmed" in said(found, confirmed=False)


def test_the_overview_counts_data_sets(found):
    other = found.entries.assign(data="fashion")
    other.loc[other["entry"] == "mixup", "difference_verdict"] = "better"
    both = replace(found, entries=pd.concat([found.entries, other]))
    assert overview(both, "classification") == (
        "Of 2 data sets of classification, better than the baseline: label_smoothing on 2 (digits, fashion); "
        "mixup on 1 (fashion), worse on 1 (digits)."
    )
    none = replace(found, entries=pd.concat([found.entries, other]).assign(difference_verdict="undecided at 5 seeds"))
    assert "On none of 2 data sets" in overview(none, "classification")
