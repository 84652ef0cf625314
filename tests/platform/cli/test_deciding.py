"""Keys of a suite given on the command line, and the command that says how much is to be run."""

import pytest

TINY = """
name: tiny
methods: {label_smoothing: {space: {only: [smoothing]}}}
data: [digits_small]
settings: {epochs: 1}
trials: 2
sampler: random
execution: inline
confirm: {seeds: 2}
"""


def test_a_suite_is_run_with_other_values_of_its_keys(here, tmp_path):
    shown = here.succeeds(tmp_path, "sweep", "quickstart", "--dry-run", "--set", "replicates=3", "--set", "confirm.seeds=2")
    assert "in 3 replicates" in shown
    until = ("until=decided", "at_most=12", "relevant=1%", "scheduler=none")
    shown = here.succeeds(tmp_path, "sweep", "quickstart", "--dry-run", *(f"--set={pair}" for pair in until))
    assert "then seeds one by one of what is not decided, up to 12" in shown
    assert "unknown key 'replicats'" in here.refused(tmp_path, "sweep", "quickstart", "--dry-run", "--set", "replicats=3")
    assert "has no such key" in here.refused(tmp_path, "sweep", "quickstart", "--dry-run", "--set", "a.b=3")


def test_a_dry_run_of_a_ready_made_suite_says_how_long_it_takes(here, tmp_path):
    assert "on two cores: " in here.succeeds(tmp_path, "sweep", "few_labels", "--dry-run")
    assert "on two cores: " not in here.succeeds(tmp_path, "sweep", "few_labels", "--dry-run", "--set", "trials=3")


def test_power_runs_a_pilot_once_and_tells_what_a_difference_needs(here, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    shown = here.succeeds(tmp_path, "power", "tiny.yaml", "--difference", "0.02")
    assert "running its pilot, two replicates of two seeds, as tiny-pilot" in shown
    assert "replicates of 2" in shown
    again = here.succeeds(tmp_path, "power", "tiny.yaml", "--difference", "0.02")
    assert again.splitlines()[-5:] == shown.splitlines()[-5:]
    assert here.succeeds(tmp_path, "power", "tiny-pilot", "--difference", "0.02").splitlines()[-5:] == shown.splitlines()[-5:]
    assert "a training took" in here.succeeds(tmp_path, "sweep", "tiny.yaml", "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "reason"), [(("--difference", "-1"), "give a positive one"), (("--difference", "nan"), "give a positive one")]
)
def test_a_difference_that_needs_nothing_is_refused(here, tmp_path, arguments, reason):
    assert reason in here.refused(tmp_path, "power", "quickstart", *arguments)


def test_what_is_neither_sweep_nor_suite_has_no_power(here, tmp_path):
    assert "no suite and no file 'nope'" in here.refused(tmp_path, "power", "nope")
