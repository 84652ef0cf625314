"""What a suite says of the spaces of all its entries: shared ranges, exactly the named settings, starting points."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.errors import ConfigError
from regbench.platform.records.records import Records, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.search.search import Search
from regbench.platform.suite.outline import outline
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.recorded import recorded_plan
from regbench.platform.suite.spec import Suite, parse_suite
from regbench.platform.sweep import describe
from regbench.search_spaces.ranges import space

EPOCHS = {"low": 2, "high": 8}


def suite(**changes: Any) -> Suite:
    return parse_suite({"name": "s", "methods": ["label_smoothing"], "confirm": {"seeds": 0}} | changes)


def planned(**changes: Any) -> dict[str, Study]:
    return {study.entry: study for study in studies(suite(**changes))}


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def drawn(folder: Path, entry: str, **changes: Any) -> list[Trial]:
    """The tuning trials of an entry, as they are handed out while none ends."""
    spec = suite(**changes)
    search = Search(spec, [study for study in studies(spec) if study.entry == entry], Records(Storage(folder)))
    return list(iter(search.next, None))


def test_a_range_of_the_suite_is_searched_by_every_entry_the_baseline_included():
    found = planned(space={"epochs": EPOCHS, "learning_rate": {"low": 0.1, "high": 0.2}})
    assert set(found) == {"cross_entropy", "label_smoothing"}
    for entry, study in found.items():
        assert dict(study.space) == space(entry) | {
            "epochs": IntDistribution(2, 8),
            "learning_rate": FloatDistribution(0.1, 0.2),
        }


def test_a_range_is_for_the_methods_that_have_the_setting():
    found = planned(methods=["label_smoothing", "confidence_penalty"], space={"smoothing": [0.1, 0.3]})
    assert found["label_smoothing"].space["smoothing"] == CategoricalDistribution([0.1, 0.3])
    assert "smoothing" not in found["confidence_penalty"].space


def test_an_entrys_own_range_wins_and_what_it_fixes_stays_fixed():
    entries = {
        "own": {"method": "label_smoothing", "space": {"epochs": [5, 6]}},
        "fixed": {"method": "label_smoothing", "settings": {"epochs": 3}},
    }
    found = planned(methods=entries, space={"epochs": EPOCHS})
    assert found["own"].space["epochs"] == CategoricalDistribution([5, 6])
    assert "epochs" not in found["fixed"].space
    assert found["fixed"].fixed == {"epochs": 3}
    assert found["cross_entropy"].space["epochs"] == IntDistribution(2, 8)


def test_only_the_named_settings_are_searched_and_all_others_have_their_values():
    entries = {
        "label_smoothing": {},
        "own": {"method": "label_smoothing", "space": {"only": ["weight_decay"]}},
        "more": {"method": "label_smoothing", "space": {"epochs": [2, 3]}},
        "fixed": {"method": "label_smoothing", "settings": {"smoothing": 0.2}},
    }
    found = {
        entry: set(study.space)
        for entry, study in planned(methods=entries, space={"only": ["smoothing", "learning_rate"]}).items()
    }
    assert found == {
        "cross_entropy": {"learning_rate"},
        "label_smoothing": {"learning_rate", "smoothing"},
        "own": {"weight_decay"},
        "more": {"learning_rate", "smoothing", "epochs"},
        "fixed": {"learning_rate"},
    }


def test_only_may_name_settings_that_get_their_range_beside_it():
    found = planned(space={"only": ["epochs"], "epochs": EPOCHS})
    assert {entry: dict(study.space) for entry, study in found.items()} == {
        entry: {"epochs": IntDistribution(2, 8)} for entry in ("cross_entropy", "label_smoothing")
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"space": {"epoch": EPOCHS}}, "space: no method of the suite has 'epoch'; did you mean 'epochs'?"),
        ({"space": {"only": ["smoothin"]}}, "space: no method of the suite has 'smoothin'; did you mean 'smoothing'?"),
        ({"space": {"only": ["epochs"]}}, "cross_entropy has no range of epochs by default: give it one under `space`"),
        ({"space": {"epochs": EPOCHS}, "settings": {"epochs": 3}}, "'epochs' is both under `settings` and searched by `space`"),
        ({"methods": {"label_smoothing": {"space": {"only": ["smothing"]}}}}, "did you mean 'smoothing'?"),
        (
            {"methods": {"label_smoothing": {"space": {"only": ["smoothing"]}, "settings": {"smoothing": 0.2}}}},
            "'smoothing' is both fixed to 0.2 and searched",
        ),
        ({"sampler": "bilevel", "space": {"learning_rate": [0.1]}, "settings": {"epochs": 9}}, "learns weights"),
        ({"start": [{"epoch": 3}]}, "start: no method of the suite has 'epoch'"),
        ({"methods": {"label_smoothing": {"start": [{"smoothin": 3}]}}}, "did you mean 'smoothing'?"),
        ({"methods": {"label_smoothing": {"start": [{"epochs": 3}]}}}, "epochs is not searched: give it a range"),
        ({"methods": {"label_smoothing": {"start": [{"smoothing": 0.9}]}}}, "smoothing 0.9 is not in its range, 0 … 0.5"),
        ({"start": [{"learning_rate": 5.0}]}, "start of cross_entropy: learning_rate 5.0 is not in its range, 0.01 … 0.2 log"),
        ({"start": [{"learning_rate": 0.1}], "trials": 1}, "1 starting points after its default, but 1 trials: raise trials"),
        ({"start": [{"learning_rate": 0.1}], "sampler": "grid", "trials": 30}, "sampler grid has no place for starting points"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(changes, reason):
    assert reason in refusal(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"space": {"only": "smoothing"}}, "only must be a list of settings, not 'smoothing'"),
        ({"space": {"only": ["smoothing"], "epochs": EPOCHS}}, "'epochs' has a range, but is not among `only`"),
        ({"start": {"smoothing": 0.1}}, "start"),
        ({"start": [0.1]}, "start"),
    ],
)
def test_what_is_no_space_and_no_start_is_refused_as_it_is_read(changes, reason):
    with pytest.raises(ConfigError) as caught:
        suite(**changes)
    assert reason in str(caught.value)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes"])
def test_the_default_comes_first_then_the_entrys_and_then_the_suites_points(tmp_path, sampler):
    trials = drawn(
        tmp_path,
        "label_smoothing",
        sampler=sampler,
        methods={"label_smoothing": {"start": [{"smoothing": 0.4}, {"smoothing": 0.3, "learning_rate": 0.02}]}},
        start=[{"learning_rate": 0.15}, {"learning_rate": 0.05}],
        trials=6,
    )
    default = {"learning_rate": 0.05, "weight_decay": 5e-4, "smoothing": 0.1}
    # The suite's second point is the default again, which is trained once.
    assert [trial.searched for trial in trials[:4]] == [
        default,
        default | {"smoothing": 0.4},
        default | {"smoothing": 0.3, "learning_rate": 0.02},
        default | {"learning_rate": 0.15},
    ]
    assert len({tuple(trial.searched.values()) for trial in trials}) == 6


def test_an_entry_takes_of_the_suites_points_what_it_searches():
    found = planned(start=[{"smoothing": 0.3, "learning_rate": 0.1}, {"smoothing": 0.2}])
    default = {"learning_rate": 0.05, "weight_decay": 5e-4}
    assert found["cross_entropy"].start == (default | {"learning_rate": 0.1},)
    assert [point["smoothing"] for point in found["label_smoothing"].start] == [0.3, 0.2]


def test_the_points_of_a_finite_space_begin_with_those_of_the_suite(tmp_path):
    only = {"only": ["smoothing"], "smoothing": [0.1, 0.2, 0.3, 0.4]}
    trials = drawn(tmp_path, "label_smoothing", space=only, start=[{"smoothing": 0.4}, {"smoothing": 0.3}], trials=9)
    assert [trial.searched["smoothing"] for trial in trials] == [0.1, 0.4, 0.3, 0.2]


FINE = {
    "only": ["optimizer", "batch_size", "gradient_clip"],
    "optimizer": {"choices": ["sgd", "adam"], "weights": [3, 1]},
    "batch_size": {"low": 16, "high": 256, "log": True, "step": 16},
    "gradient_clip": {"low": 0.5, "high": 2.0, "when": {"optimizer": "adam"}},
}


def test_a_plan_shows_conditions_grids_odds_and_starting_points():
    found = outline(suite(methods=["cross_entropy"], space=FINE, start=[{"batch_size": 128}])).studies[0]
    assert found.searched == [
        "optimizer: sgd (75%), adam (25%)",
        "batch_size: 16 … 256 log, step 16",
        "gradient_clip: 0.5 … 2, when optimizer is adam",
        "first: optimizer=sgd, batch_size=128",
    ]


def test_a_resumed_sweep_has_the_space_and_the_starting_points_that_were_recorded(tmp_path, monkeypatch):
    spec = suite(methods=["cross_entropy"], space=FINE, start=[{"batch_size": 128}])
    planned_then = studies(spec)
    records = Records(Storage(tmp_path))
    records.storage.write("suite.json", json.dumps(describe(spec, planned_then)).encode())
    # The default of what is searched under a condition has changed since.
    monkeypatch.setattr(ClassificationMethod.model_fields["gradient_clip"], "default", 9.0)
    ((now,), (then,)) = recorded_plan(records)[1], planned_then
    assert (now.space, list(now.start)) == (then.space, list(then.start))
    assert now.trials == then.trials
    assert now.trial("tune", 1, 0, {"optimizer": "sgd", "batch_size": 32}).settings["gradient_clip"] is None
