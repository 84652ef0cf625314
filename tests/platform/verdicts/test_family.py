"""Decisions of a table: when they fall, that they stay, and that intervals go with them."""

import math

import numpy as np
import pytest

from regbench.platform.verdicts.anytime import p_values
from regbench.platform.verdicts.family import ALPHA, Rules, Series, decide, holm, levels, settle

RULES = Rules(first=5, at_most=20, relevant=0.1)


def table(seed, effects, n=20):
    random = np.random.default_rng(seed)
    return {f"e{i}": Series((effect + random.standard_normal(n)).tolist()) for i, effect in enumerate(effects)}


def test_a_large_effect_is_decided_soon_and_none_at_all_stays_undecided():
    found = decide(table(0, [3.0, -3.0, 0.0]), RULES)
    assert [decision.end for decision in found.values()] == ["above", "below", "undecided"]
    assert found["e0"].units < 20 == found["e2"].units


def test_a_difference_that_is_shown_to_be_small_is_equivalent():
    small = {name: Series([0.02 * value for value in series.differences]) for name, series in table(1, [0.0, 0.0]).items()}
    assert {decision.end for decision in decide(small, RULES).values()} == {"equivalent"}


def test_what_is_decided_does_not_depend_on_what_was_trained_ahead():
    """With every unit there, and with each comparison's alone up to its decision: the same."""
    for seed in range(20):
        whole = table(seed, [0.0, 0.8, 1.5, 2.5])
        found = decide(whole, RULES)
        assert decide({name: Series(whole[name].differences[: found[name].units]) for name in whole}, RULES) == found


def test_what_has_not_come_yet_keeps_a_look_from_being_taken():
    whole = table(2, [3.0, 0.3])
    part = {"e0": whole["e0"], "e1": Series(whole["e1"].differences[:6])}
    found = decide(part, RULES)
    assert found["e1"].end == "open"
    assert found["e0"].units <= 6


@pytest.mark.parametrize("seed", range(5))
def test_intervals_never_contradict_decisions(seed):
    for decision in decide(table(seed, [0.0, 0.7, 1.4, -2.0, 0.02]), RULES).values():
        excludes = not decision.low <= 0 <= decision.high
        assert excludes == (decision.end in ("above", "below"))
        assert (decision.p_holm < ALPHA) == excludes


def test_lost_units_tell_nothing():
    whole = table(3, [1.5])["e0"].differences
    with_lost = [*whole[:4], math.nan, *whole[4:]]
    assert (
        decide({"e0": Series(with_lost)}, RULES)["e0"].p
        == p_values(
            [value for value in with_lost[: decide({"e0": Series(with_lost)}, RULES)["e0"].units] if math.isfinite(value)]
        )[-1]
    )
    assert decide({"e0": Series([math.nan] * 20)}, RULES)["e0"].end == "undecided"
    assert decide({"e0": Series([math.nan] * 20)}, RULES)["e0"].units == 5


def test_sides_that_never_vary_are_told_apart_without_a_test():
    assert decide({"e0": Series([0.1] * 5, constant=True)}, RULES)["e0"].end == "constant"
    assert decide({"e0": Series([0.0] * 5, constant=True)}, RULES)["e0"].end == "equivalent"
    # Equal by chance: as many pairs as it takes.
    assert decide({"e0": Series([0.5] * 20)}, RULES)["e0"].end == "above"


def test_levels_reject_what_holm_rejects():
    random = np.random.default_rng(4)
    for _ in range(500):
        p = random.uniform(0, 0.06, random.integers(1, 7)).tolist()
        p[0] = math.nan if random.uniform() < 0.2 else p[0]
        for value, corrected, level in zip(p, holm(p), levels(p), strict=True):
            if math.isfinite(value):
                assert (corrected < ALPHA) == (value < level)


def test_figures_of_all_units_that_were_trained_contradict_no_decision():
    """What a second comparison of the same entry took narrows the interval of the first."""
    for seed in range(30):
        whole = table(seed, [0.0, 0.7, 1.4, -2.0, 0.02])
        decisions = decide(whole, RULES)
        settled = settle(whole, decisions, dict.fromkeys(whole, 20), RULES)
        for name, found in settled.items():
            before = decisions[name]
            assert (found.end, found.units) == (before.end, 20)
            assert found.p <= before.p
            if found.end in ("above", "below"):
                assert found.p_holm < ALPHA
                assert not found.low <= 0 <= found.high
            if found.end == "equivalent":
                assert max(-found.low, found.high) <= RULES.relevant
    unchanged = settle(whole, decisions, {name: decision.units for name, decision in decisions.items()}, RULES)
    assert {name: decision.p for name, decision in unchanged.items()} == {name: d.p for name, d in decisions.items()}
