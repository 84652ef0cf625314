"""What was measured of the papers' claims: found by what the claims say, and judged, not written."""

import io
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from regbench.platform.comparison.effect import design_text, effect
from regbench.platform.comparison.effects import claims, effects_of, measured, measured_methods
from regbench.platform.comparison.effects_plots import claims_plot
from regbench.platform.comparison.papers import headline_claim, headlines, headlines_table, on_claim
from regbench.platform.verdicts.units import Design

FIXED = Design(replicates=1, seeds=5, first_seed=1000, at_most=None, relevant=None, choose=None)
REPLICATES = Design(replicates=4, seeds=2, first_seed=1000, at_most=None, relevant=None, choose=None)
UNTIL = Design(replicates=4, seeds=2, first_seed=1000, at_most=20, relevant=0.01, choose=None)


def by_seed(values: list[float]) -> dict[int, dict[int, float]]:
    return {1000 + number: {1000 + number: value} for number, value in enumerate(values)}


def by_replicate(values: list[list[float]]) -> dict[int, dict[int, float]]:
    return {r: {1000 + 10 * r + s: value for s, value in enumerate(row)} for r, row in enumerate(values)}


@pytest.mark.parametrize(
    ("verdict", "difference", "direction", "finding"),
    [
        ("better", 0.1, "higher", "as claimed"),
        ("better", -0.1, "lower", "as claimed"),
        ("worse", -0.1, "higher", "opposite"),
        ("worse", 0.1, "lower", "opposite"),
        # More of something than the opponent may be claimed although less of it is good.
        ("worse", 0.1, "higher", "as claimed"),
        ("equivalent", 0.001, "higher", "equivalent"),
        ("no difference shown at 10 seeds", 0.1, "higher", "not shown"),
        ("undecided at 8 replicates", 0.1, "higher", "not shown"),
        ("identical at 10 seeds", 0.0, "higher", "not shown"),
        ("worse by the same amount at all 3 seeds: nothing to test", -0.1, "higher", "not shown"),
    ],
)
def test_a_finding_follows_from_verdict_and_direction(verdict, difference, direction, finding):
    assert on_claim(verdict, difference, direction) == finding


def test_an_effect_over_seeds_is_the_paired_t_test():
    dice = np.random.default_rng(0)
    own, other = dice.normal(0.9, 0.02, 5), dice.normal(0.8, 0.02, 5)
    found = effect(by_seed(own.tolist()), by_seed(other.tolist()), "max", FIXED, math.nan, 0.0)
    test = stats.ttest_rel(own, other)
    interval = test.confidence_interval()
    assert found["p"] == pytest.approx(test.pvalue)
    assert [found["difference_low"], found["difference_high"]] == pytest.approx([interval.low, interval.high])
    assert found["standardized"] == pytest.approx(test.statistic / math.sqrt(5))
    assert (found["verdict"], found["unit"], found["units"], found["seeds"]) == ("better", "seed", 5, 5)


def test_an_effect_over_replicates_pairs_the_means_of_seeds_that_both_have():
    dice = np.random.default_rng(1)
    own, other = dice.normal(0.5, 0.1, (4, 2)), dice.normal(0.4, 0.1, (4, 2))
    lost = by_replicate(other.tolist())
    del lost[3][1031]
    found = effect(by_replicate(own.tolist()), lost, "min", REPLICATES, math.nan, 0.0)
    pairs = (own - other).mean(axis=1)
    pairs[3] = own[3, 0] - other[3, 0]
    test = stats.ttest_1samp(pairs, 0)
    assert found["difference"] == pytest.approx(pairs.mean())
    assert found["p"] == pytest.approx(test.pvalue)
    assert (found["units"], found["seeds"], found["design"]) == (4, 7, "4 replicates, 7 seeds in all")


def test_an_effect_that_was_measured_until_decided_is_judged_by_what_holds_at_any_stopping_time():
    dice = np.random.default_rng(2)
    noise = dice.normal(0, 0.002, (8, 2))
    clear = effect(by_replicate((0.9 + noise).tolist()), by_replicate([[0.8, 0.8]] * 8), "max", UNTIL, 0.01, 0.0)
    fixed = effect(by_replicate((0.9 + noise).tolist()), by_replicate([[0.8, 0.8]] * 8), "max", REPLICATES, 0.01, 0.0)
    assert clear["verdict"] == "better"
    assert clear["difference_low"] < fixed["difference_low"] < 0.1 < fixed["difference_high"] < clear["difference_high"]
    assert fixed["p"] < clear["p"] < 0.05
    alike = effect(by_replicate((0.8 + noise).tolist()), by_replicate([[0.8, 0.8]] * 8), "max", UNTIL, 0.01, 0.0)
    assert alike["verdict"] == "equivalent"
    few = effect(by_replicate((0.8 + noise[:2]).tolist()), by_replicate([[0.8, 0.8]] * 2), "max", UNTIL, 0.01, 0.0)
    assert few["verdict"] == "undecided at 2 replicates"
    assert math.isnan(few["difference_low"])
    assert clear["design"] == "8 replicates of 2 seeds, until decided"


@pytest.mark.parametrize(
    ("design", "units", "seeds", "text"),
    [
        (FIXED, 10, 10, "10 seeds, one tuning"),
        (FIXED, 1, 1, "1 seed, one tuning"),
        (REPLICATES, 8, 16, "8 replicates of 2 seeds"),
        (UNTIL, 8, 8, "8 replicates of 1 seed, until decided"),
    ],
)
def test_a_design_is_said_in_words(design, units, seeds, text):
    assert design_text(design, units, seeds) == text


def test_every_measured_method_has_one_headline_claim_and_one_row():
    assert sorted(headline.slug for headline in headlines()) == sorted(measured_methods())
    for slug, found in claims().items():
        assert sum(claim.headline for claim in found) == (len(found) > 1), slug
        assert headline_claim(slug) in found


def test_the_baselines_rows_come_first():
    """So that a claim against the baseline finds them: no competitor, nor the weights off."""
    for slug, found in claims().items():
        for claim in found:
            if rows := effects_of(slug, claim):
                assert rows[0]["against"] not in {*claim.competitors, "its weights off"}


def test_standardized_effects_belong_to_their_intervals():
    for row in measured():
        if math.isfinite(row["standardized"]) and "until" not in row["design"]:
            half = (row["difference_high"] - row["difference_low"]) / 2
            n = row["units"]
            sd = row["difference"] / row["standardized"] if row["standardized"] else math.nan
            assert math.isnan(sd) or half == pytest.approx(stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n), rel=1e-3)


def test_headlines_are_shown_in_the_terminal_and_as_a_forest_with_the_claims_to_the_right():
    shown = headlines()
    console = Console(width=110, file=io.StringIO())
    console.print(headlines_table(shown))
    text = console.file.getvalue()
    axes = claims_plot(shown).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [headline.slug for headline in shown]
    points = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1}
    for place, headline in enumerate(shown):
        assert headline.slug in text
        value, low, high = headline.standardized
        if math.isfinite(value):
            assert points[place] == value
            assert low <= value <= high
        if headline.finding in ("as claimed", "opposite"):
            assert (value > 0) == (headline.finding == "as claimed")
    assert all(text.count(finding) >= 1 for finding in {headline.finding for headline in shown})
