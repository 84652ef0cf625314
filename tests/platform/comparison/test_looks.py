"""An entry looks the same everywhere."""

from regbench.methods.registry import all_methods
from regbench.platform.comparison.looks import COLOURS, GREY, MARKS, OUTLINES, looks

NAMES = [f"entry_{number}" for number in range(60)]


def test_a_look_follows_from_the_name_alone():
    alone = {name: looks([name])[name] for name in NAMES}
    kept = 0
    for many in (NAMES[:4], NAMES[10:16], NAMES[::7]):
        together = looks(many)
        assert looks(reversed(many)) == together
        kept += sum(together[name] == alone[name] for name in many)
    assert kept >= 17, "all but the few whose look another one has taken"


def test_of_two_with_one_look_the_first_keeps_it():
    first, second = next((a, b) for a in NAMES for b in NAMES if a < b and looks([a])[a] == looks([b])[b])
    together = looks([second, first])
    assert together[first] == looks([first])[first]
    assert together[second] != together[first]


def test_no_two_entries_look_alike_until_all_looks_are_taken():
    count = len(COLOURS) * len(MARKS)
    assert len(set(looks(NAMES[:count]).values())) == count
    assert len(looks(NAMES)) == 60


def test_baselines_are_grey_and_nothing_else_is():
    methods = all_methods()
    baselines = {method.track.baseline for method in methods.values()}
    assert {slug for slug in methods if looks([slug])[slug].colour == GREY} == baselines & methods.keys()
    two = looks(["cross_entropy (old)", "cross_entropy (new)"])
    assert [look.colour for look in two.values()] == [GREY, GREY]
    assert len(set(two.values())) == 2


def test_the_same_entry_of_two_sweeps_begins_with_one_look():
    assert looks(["mixup (old)"])["mixup (old)"] == looks(["mixup"])["mixup"]


def test_every_mark_has_an_outline():
    assert len(MARKS) == len(OUTLINES)
