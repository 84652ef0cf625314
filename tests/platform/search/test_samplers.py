"""Conditions, grids on a log scale and odds, as samplers draw them, records hold them and a resumed sweep reads them."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.search.samplers import ask, sampler_for
from regbench.platform.search.search import Search
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.spec import Suite, parse_suite

CLIP = {"low": 0.5, "high": 2.0}
# The clip is searched with Adam alone, and the schedule only where there is a clip's optimizer and an augmentation.
TREE = {
    "optimizer": ["sgd", "adam"],
    "augmentation": ["none", "shift"],
    "gradient_clip": CLIP | {"when": {"optimizer": "adam"}},
    "schedule": {"choices": ["step", "cosine"], "when": {"optimizer": ["adam"], "augmentation": "shift"}},
}


def suite(space: dict[str, Any], **changes: Any) -> Suite:
    entry = {"space": space | {"only": list(space)}}
    return parse_suite({"name": "s", "methods": {"cross_entropy": entry}, "confirm": {"seeds": 0}, "trials": 40} | changes)


def study(space: dict[str, Any], **changes: Any) -> Study:
    (found,) = studies(suite(space, **changes))
    return found


def refusal(space: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        study(space, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def search(folder: Path, space: dict[str, Any], **changes: Any) -> Search:
    spec = suite(space, **changes)
    return Search(spec, studies(spec), Records(Storage(folder)))


def ended(found: Search, value: float) -> Trial:
    """Hands out a trial and lets it end with a validation accuracy."""
    trial = found.next()
    assert trial is not None
    metrics = {"val/accuracy": value, "val/nll": 1 - value}
    for round_ in range(1, trial.planned_rounds + 1):
        found.records.start_attempt(trial.key).report(Report(round_, 0.0, 0.0, metrics, trial.searched))
    found.finish(trial.key, "completed")
    return trial


@pytest.mark.parametrize("sampler", ["random", {"name": "tpe", "startup": 5}])
def test_a_setting_is_searched_only_where_its_condition_is_fulfilled(tmp_path, sampler):
    found = search(tmp_path, TREE, sampler=sampler, settings={"epochs": 1})
    trials = [ended(found, 0.5 + 0.001 * number) for number in range(40)]
    assert {trial.searched["optimizer"] for trial in trials} == {"sgd", "adam"}
    defaults = create("cross_entropy", {})
    kinds = Counter()
    for trial in trials:
        values = trial.searched
        adam, shifted = values["optimizer"] == "adam", values["augmentation"] == "shift"
        assert ("gradient_clip" in values, "schedule" in values) == (adam, adam and shifted)
        kinds[adam, shifted] += 1
        for name in ("gradient_clip", "schedule"):
            assert trial.settings[name] == values.get(name, getattr(defaults, name))
    assert len(kinds) == 4


def test_a_resumed_study_tells_optuna_what_was_searched_and_goes_on_alike(tmp_path):
    tpe = {"name": "tpe", "startup": 4}
    found = search(tmp_path, TREE, sampler=tpe, settings={"epochs": 1})
    for number in range(12):
        ended(found, 0.5 + 0.01 * (number % 5))
    again = search(tmp_path, TREE, sampler=tpe, settings={"epochs": 1})
    (state,), (past,) = found.states.values(), again.states.values()
    assert [trial.params for trial in past.optuna.trials] == [trial.params for trial in state.optuna.trials]
    assert {len(trial.params) for trial in past.optuna.trials} == {2, 3, 4}
    assert again.next().searched == found.next().searched


def test_tpe_learns_a_setting_that_is_not_in_every_trial(tmp_path):
    """Accuracy is best at a clip of 1.5: late draws are nearer to it than the first random ones."""
    space = {"optimizer": ["sgd", "adam"], "gradient_clip": CLIP | {"when": {"optimizer": "adam"}}}
    found = search(tmp_path, space, sampler={"name": "tpe", "startup": 10}, settings={"epochs": 1}, trials=50)
    distances = []
    for _ in range(50):
        trial = found.next()
        clip = trial.searched.get("gradient_clip")
        value = 0.5 if clip is None else 1 - abs(clip - 1.5)
        found.records.start_attempt(trial.key).report(Report(1, 0.0, 0.0, {"val/accuracy": value}, trial.searched))
        found.finish(trial.key, "completed")
        distances += [] if clip is None else [abs(clip - 1.5)]
    assert sum(distances[-10:]) < sum(distances[:6]) * 10 / 6 / 2


def test_a_grid_holds_each_combination_that_can_be_once(tmp_path):
    found = search(tmp_path, TREE, sampler={"name": "grid", "points": 3})
    trials = [tuple(sorted(trial.searched.items())) for trial in iter(found.next, None)]
    expected = set()
    for optimizer, augmentation in itertools.product(["sgd", "adam"], ["none", "shift"]):
        clips = [{"gradient_clip": clip} for clip in (0.5, 1.25, 2.0)] if optimizer == "adam" else [{}]
        both = optimizer == "adam" and augmentation == "shift"
        schedules = [{"schedule": schedule} for schedule in ("step", "cosine")] if both else [{}]
        for clip, schedule in itertools.product(clips, schedules):
            point = {"optimizer": optimizer, "augmentation": augmentation} | clip | schedule
            expected.add(tuple(sorted(point.items())))
    assert len(trials) == len(expected) == 1 + 1 + 3 + 6
    assert set(trials) == expected


def test_the_points_of_a_finite_conditional_space_are_counted_and_trained_once(tmp_path):
    space = TREE | {"gradient_clip": {"choices": [0.5, 1.0, 2.0], "when": {"optimizer": "adam"}}}
    assert study(space).trials == 11
    trials = list(iter(search(tmp_path, space).next, None))
    assert len({json.dumps(trial.searched, sort_keys=True) for trial in trials}) == len(trials) == 11


def test_a_grid_of_conditions_is_counted_without_being_made():
    space = {"optimizer": ["sgd", "adam"], "learning_rate": CLIP, "weight_decay": CLIP | {"when": {"optimizer": "adam"}}}
    assert f"{30_000 + 30_000**2} grid points" in refusal(space, sampler={"name": "grid", "points": 30_000})


def test_a_condition_on_a_setting_that_is_fixed_is_decided_by_its_value():
    clip = {"gradient_clip": CLIP | {"when": {"optimizer": "adam"}}}
    entries = {name: {"method": "cross_entropy", "settings": {"optimizer": name}} for name in ("sgd", "adam")}
    spec = parse_suite({"name": "s", "methods": entries, "space": {"only": ["gradient_clip", "learning_rate"]} | {
        "learning_rate": CLIP} | clip})  # fmt: skip
    found = {one.entry: one.space for one in studies(spec)}
    assert set(found["adam"]) == {"gradient_clip", "learning_rate"}
    assert not found["adam"].when
    assert set(found["sgd"]) == {"learning_rate"}
    assert "range of cross_entropy.gradient_clip" in refusal(clip)


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"gradient_clip": CLIP | {"when": {"optimiser": "adam"}}}, "no setting 'optimiser'; did you mean 'optimizer'?"),
        (TREE | {"gradient_clip": CLIP | {"when": {"optimizer": "adm"}}}, "cross_entropy.optimizer includes 'adm', which"),
        (
            {"optimizer": ["sgd"], "gradient_clip": CLIP | {"when": {"optimizer": "adam"}}},
            "optimizer is never 'adam'; its choices are sgd",
        ),
        (
            {"learning_rate": CLIP, "gradient_clip": CLIP | {"when": {"learning_rate": 0.5}}},
            "learning_rate is searched between two limits: give it a list of choices",
        ),
        ({"gradient_clip": CLIP | {"when": "adam"}}, "when must be a mapping such as {optimizer: adam}"),
        ({"gradient_clip": CLIP | {"when": {"optimizer": []}}}, "when must be a mapping"),
        (
            {
                "optimizer": {"choices": ["sgd", "adam"], "when": {"schedule": "step"}},
                "schedule": {"choices": ["step", "cosine"], "when": {"optimizer": "adam"}},
            },
            "is searched only when another one is",
        ),
        ({"optimizer": {"choices": ["sgd", "adam"], "weights": [1]}}, "one number for each of the 2 choices"),
        ({"optimizer": {"choices": ["sgd", "adam"], "weights": [1, -1]}}, "must not be negative"),
        ({"optimizer": {"choices": ["sgd", "adam"], "weights": [0, 0]}}, "nor all 0"),
        ({"optimizer": {"choices": ["sgd", "adam"], "weights": ["1", 2]}}, "a weight must be a finite number"),
        ({"optimizer": {"choices": ["sgd", "adam"], "low": 1}}, "unknown key 'low'"),
        ({"optimizer": {"choices": "sgd"}}, "choices must be a list"),
        ({"batch_size": {"low": 16, "high": 64, "log": True, "step": 100}}, "a step of 100 does not lead from low to high"),
        ({"batch_size": {"low": 16, "high": 64, "log": True, "step": -1}}, "a step of -1 does not lead"),
    ],
)
def test_a_condition_a_weight_or_a_grid_that_cannot_be_is_refused_in_one_line(space, reason):
    assert reason in refusal(space)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "gp"},
        {"sampler": "cmaes"},
        {"sampler": "nsga2", "objectives": ["accuracy", "nll"]},
        {"sampler": "random", "scheduler": "pbt"},
    ],
)
def test_what_needs_the_same_settings_in_all_trials_refuses_conditions_by_name(changes):
    space = {"learning_rate": CLIP, "weight_decay": CLIP} | TREE
    name = changes.get("scheduler") or changes["sampler"]
    message = refusal(space, **changes)
    assert name in message
    assert "gradient_clip" in message
    assert "leave `when` out" in message


def test_bilevel_learns_no_weight_on_a_grid():
    entry = {"space": {"smoothing": {"low": 0.0, "high": 0.4, "step": 0.1}}}
    with pytest.raises(ConfigError, match="its range has a step"):
        studies(parse_suite({"name": "s", "methods": {"label_smoothing": entry}, "sampler": "bilevel"}))


WIDTHS = {"batch_size": {"low": 16, "high": 256, "log": True, "step": 16}, "learning_rate": {
    "low": 0.01, "high": 0.1, "log": True, "step": 0.01}}  # fmt: skip


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "nsga2", "grid"])
def test_numbers_of_a_log_range_with_a_step_lie_on_its_grid_for_every_sampler(tmp_path, sampler):
    objectives = {"objectives": ["accuracy", "nll"]} if sampler == "nsga2" else {}
    details = {"name": sampler} | ({"startup": 4} if sampler in ("tpe", "gp", "cmaes") else {})
    count = {"grid": 9, "gp": 6}.get(sampler, 14)
    found = search(tmp_path, WIDTHS, sampler=details, settings={"epochs": 1}, trials=count, **objectives)
    trials = [ended(found, 0.5 + 0.01 * (number % 7)) for number in range(count)]
    (state,) = found.states.values()
    for trial in trials:
        assert trial.searched["batch_size"] in range(16, 257, 16)
        assert round(trial.searched["learning_rate"] * 100, 12) in range(1, 11)
    told = [one.params for one in state.optuna.trials if one.state == optuna.trial.TrialState.COMPLETE]
    assert [(one["batch_size"], one["learning_rate"]) for one in told] == [
        (trial.searched["batch_size"], trial.searched["learning_rate"]) for trial in trials
    ]


def test_a_number_of_a_log_range_with_a_step_is_a_log_uniform_one_rounded():
    """Its probability is the length, on the log scale, of what is nearer to it than to other points."""
    points, draws = [10, 30, 50, 70, 90], 4000
    found = study({"batch_size": {"low": 10, "high": 90, "log": True, "step": 20}})
    optimizer = optuna.create_study(sampler=sampler_for(suite(WIDTHS, sampler="random"), found.space, seed=3))
    counts = Counter(ask(optimizer, found.space).params["batch_size"] for _ in range(draws))
    # Optuna's whole numbers on a log scale reach half a number beyond both ends.
    edges = [9.5, 20, 40, 60, 80, 90.5]
    for point, low, high in zip(points, edges, edges[1:], strict=False):
        expected = math.log(high / low) / math.log(edges[-1] / edges[0])
        assert counts[point] / draws == pytest.approx(expected, abs=4 * math.sqrt(expected / draws) + 0.01)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "nsga2"])
def test_random_draws_follow_the_odds_of_choices(sampler):
    """Before it has learned anything, every sampler draws at random."""
    space = {"optimizer": {"choices": ["sgd", "adam"], "weights": [1, 9]}, "learning_rate": CLIP, "weight_decay": CLIP}
    objectives = {"objectives": ["accuracy", "nll"]} if sampler == "nsga2" else {}
    spec = suite(space, sampler=sampler, **objectives)
    (found,) = studies(spec)
    directions = ["maximize"] * len(found.objectives)
    chosen = Counter()
    for seed in range(300):
        optimizer = optuna.create_study(directions=directions, sampler=sampler_for(spec, found.space, seed))
        chosen[ask(optimizer, found.space).params["optimizer"]] += 1
    assert chosen["adam"] / 300 == pytest.approx(0.9, abs=0.06)
