"""A suite becomes studies: baselines added, data by track, everything checked before anything runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from regbench.methods.errors import ConfigError
from regbench.methods.registry import create, tracks
from regbench.platform.inventory.inventory import inventory
from regbench.platform.records.records import Records, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.search.search import Search
from regbench.platform.suite.names import check_new
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.spec import Suite, parse_suite


def suite(**changes: object) -> Suite:
    return parse_suite({"name": "s", "methods": ["label_smoothing"]} | changes)


def planned(**changes: object) -> list[Study]:
    return studies(suite(**changes))


def refusal(**changes: object) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(**changes)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def searched(**space: object) -> dict[str, object]:
    """Label smoothing with exactly these settings searched."""
    fixed = {"learning_rate": 0.05, "weight_decay": 0.0, "smoothing": 0.1}
    return {"label_smoothing": {"settings": {k: v for k, v in fixed.items() if k not in space}, "space": space}}


def test_every_track_gets_its_baseline_once():
    entries = [study.entry for study in planned(methods=["label_smoothing", "sinkhorn"])]
    assert sorted(entries) == ["cross_entropy", "exact_transport", "label_smoothing", "sinkhorn"]
    named = planned(methods={"plain": {"method": "cross_entropy"}, "label_smoothing": {}})
    assert sorted(study.entry for study in named) == ["label_smoothing", "plain"]


def test_data_goes_to_the_tracks_that_it_fits():
    found = planned(methods=["label_smoothing", "sinkhorn"], data=["digits", "gaussian_clouds", "digits_noisy"])
    assert sorted(study.name for study in found) == [
        "cross_entropy-digits",
        "cross_entropy-digits_noisy",
        "exact_transport-gaussian_clouds",
        "label_smoothing-digits",
        "label_smoothing-digits_noisy",
        "sinkhorn-gaussian_clouds",
    ]


def test_without_data_each_track_takes_its_own():
    found = {study.method.track.name: study.data for study in planned(methods=["label_smoothing", "sinkhorn"])}
    assert found == {name: tracks()[name].data[0] for name in ("classification", "transport")}


def test_shared_settings_go_to_the_methods_that_have_them():
    found = {study.entry: study for study in planned(methods=["label_smoothing", "sinkhorn"], settings={"epochs": 3})}
    assert found["label_smoothing"].fixed == {"epochs": 3}
    assert found["sinkhorn"].fixed == {}


def test_an_entry_overrides_a_shared_setting_by_a_value_or_a_range():
    entries = {
        "short": {"method": "label_smoothing", "settings": {"epochs": 2}},
        "searched": {"method": "label_smoothing", "space": {"epochs": {"low": 2, "high": 4}}},
    }
    found = {study.entry: study for study in planned(methods=entries, settings={"epochs": 9})}
    assert found["short"].fixed["epochs"] == 2
    assert "epochs" not in found["searched"].fixed
    assert found["searched"].space["epochs"] == IntDistribution(2, 4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"methods": ["label_smothing"]}, "unknown method 'label_smothing'; did you mean 'label_smoothing'?"),
        ({"data": ["digit"]}, "unknown data set 'digit'; did you mean 'digits'?"),
        ({"data": ["gaussian_clouds"]}, "fits track classification; it has digits"),
        ({"settings": {"epoch": 3}}, "no method of the suite has 'epoch'; did you mean 'epochs'?"),
        ({"settings": {"epochs": 0}}, "epochs"),
        ({"methods": {"label_smoothing": {"settings": {"smoothin": 0.1}}}}, "did you mean 'smoothing'?"),
        ({"methods": {"label_smoothing": {"settings": {"smoothing": 1.5}}}}, "smoothing: must be at most 1"),
        ({"methods": {"label_smoothing": {"space": {"smoothin": [0.1]}}}}, "did you mean 'smoothing'?"),
        ({"methods": searched(smoothing={"low": 0.0, "high": 1.5})}, "includes 1.5, which the method refuses"),
        ({"methods": searched(smoothing=[0.1, -1.0])}, "includes -1.0, which the method refuses"),
        ({"methods": searched(smoothing={"low": 0.5, "high": 0.1})}, "range of label_smoothing.smoothing"),
        ({"methods": searched(smoothing={"low": 0.0, "high": 0.5, "log": True})}, "range of label_smoothing.smoothing"),
        ({"methods": searched(smoothing={"low": 0.0, "hig": 0.5})}, "write a list of choices, or {low: …, high: …}"),
        ({"methods": searched(smoothing={"low": 0.0, "high": 0.5, "stp": 1})}, "unknown key 'stp'; did you mean 'step'?"),
        (
            {"methods": {"label_smoothing": {"settings": {"smoothing": 0.1}, "space": {"smoothing": [0.1]}}}},
            "both fixed to 0.1 and searched",
        ),
        ({"objectives": ["acuracy"]}, "no metric 'acuracy'; did you mean 'accuracy'?"),
        ({"methods": ["label_smoothing", "sinkhorn"], "objectives": ["accuracy"]}, "track transport has no metric 'accuracy'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_change(changes, reason):
    assert reason in refusal(**changes)


def test_cmaes_needs_two_numeric_settings():
    baseline = {"cross_entropy": {}}
    assert "two numeric" in refusal(sampler="cmaes", methods=searched(smoothing={"low": 0.0, "high": 0.5}) | baseline)
    choices = searched(smoothing=[0.1, 0.2], learning_rate={"low": 0.01, "high": 0.1})
    assert "two numeric" in refusal(sampler="cmaes", methods=choices | baseline)
    ranges = searched(smoothing={"low": 0.0, "high": 0.5}, learning_rate={"low": 0.01, "high": 0.1})
    assert planned(sampler="cmaes", methods=ranges | baseline)


def test_pbt_needs_numeric_settings_and_rounds_that_train_one_model():
    pbt = {"sampler": "random", "scheduler": "pbt"}
    assert "searches none" in refusal(**pbt, methods=searched(smoothing=[0.1, 0.2]) | {"cross_entropy": {}})
    assert "separate problems" in refusal(**pbt, methods=["sinkhorn"])
    assert planned(**pbt)


def test_a_grid_must_fit_into_the_trials_and_takes_no_more_than_its_points():
    # Learning rate and weight decay of the baseline, with smoothing 3^3 points.
    message = refusal(sampler="grid", trials=26)
    assert "27 grid points" in message
    assert "trials is 26" in message
    trials = {study.entry: study.trials for study in planned(sampler="grid", trials=30)}
    assert trials == {"cross_entropy": 9, "label_smoothing": 27}


def test_with_nothing_to_search_there_is_one_trial():
    trials = {study.entry: study.trials for study in planned(methods=["sinkhorn"], trials=8)}
    assert trials == {"exact_transport": 1, "sinkhorn": 8}


@pytest.mark.parametrize(
    ("limits", "points", "values"),
    [
        ({"low": 0.0, "high": 0.5}, 3, [0.0, 0.25, 0.5]),
        ({"low": 0.01, "high": 0.25, "step": 0.06}, 4, [0.01, 0.07, 0.19, 0.25]),
        ([0.3, 0.1], 5, [0.3, 0.1]),
    ],
)
def test_a_grid_is_even(limits, points, values):
    study = next(study for study in planned(methods=searched(smoothing=limits)) if study.entry == "label_smoothing")
    assert [point["smoothing"] for point in study.space.grid(points)] == pytest.approx(values)


def test_a_grid_is_even_by_ratio_on_a_log_range():
    limits = {"low": 0.001, "high": 0.1, "log": True}
    study = next(study for study in planned(methods=searched(learning_rate=limits)) if study.entry == "label_smoothing")
    assert [point["learning_rate"] for point in study.space.grid(3)] == pytest.approx([0.001, 0.01, 0.1])


def test_a_grid_of_whole_numbers_has_no_point_twice():
    methods = searched(batch_size={"low": 32, "high": 34})
    study = next(study for study in planned(methods=methods) if study.entry == "label_smoothing")
    assert [point["batch_size"] for point in study.space.grid(5)] == [32, 33, 34]


def test_a_grid_combines_all_settings():
    methods = searched(smoothing=[0.1, 0.2], learning_rate=[0.01, 0.02, 0.03])
    study = next(study for study in planned(methods=methods) if study.entry == "label_smoothing")
    points = study.space.grid(3)
    assert len(points) == 6
    assert {(point["smoothing"], point["learning_rate"]) for point in points} == {
        (s, rate) for s in (0.1, 0.2) for rate in (0.01, 0.02, 0.03)
    }


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes"])
def test_the_first_trial_is_the_methods_own_default(tmp_path, sampler):
    spec = suite(sampler=sampler)
    search = Search(spec, studies(spec), Records(Storage(tmp_path)))
    first = [search.next() for _ in range(2)]
    assert [trial.number for trial in first] == [0, 0]
    for trial in first:
        assert trial.settings == create(trial.method, {}).model_dump()


def test_a_default_outside_the_range_is_drawn_instead(tmp_path):
    spec = suite(sampler="random", methods=searched(smoothing={"low": 0.2, "high": 0.5}))
    search = Search(spec, studies(spec), Records(Storage(tmp_path)))
    trial = next(trial for trial in iter(search.next, None) if trial.entry == "label_smoothing")
    assert create("label_smoothing", {}).smoothing < 0.2 <= trial.searched["smoothing"] <= 0.5


def test_grid_trials_are_the_grid_points_each_once(tmp_path):
    spec = suite(sampler="grid", trials=9, methods=["cross_entropy"], confirm={"seeds": 0})
    study = studies(spec)[0]
    search = Search(spec, [study], Records(Storage(tmp_path)))
    points = [tuple(trial.searched.values()) for trial in iter(search.next, None)]
    assert sorted(points) == sorted(tuple(point.values()) for point in study.space.grid(3))


def test_a_trial_with_its_weights_off_keeps_every_other_setting():
    study = next(study for study in planned() if study.entry == "label_smoothing")
    values = {"learning_rate": 0.03, "weight_decay": 0.001, "smoothing": 0.3}
    on, off = study.trial("confirm", 2, 1002, values), study.trial("ablate", 2, 1002, values, off=True)
    assert off.settings == on.settings | {"smoothing": 0.0}
    assert (on.key, off.key) == ("label_smoothing-digits-confirm-0002", "label_smoothing-digits-ablate-0002")


def test_studies_describe_themselves_in_json():
    study = next(study for study in planned(methods=searched(smoothing=[0.1, 0.2])) if study.entry == "label_smoothing")
    assert dict(study.space) == {"smoothing": CategoricalDistribution([0.1, 0.2])}
    assert study.describe()["space"]["smoothing"].startswith('{"name": "CategoricalDistribution"')
    assert all(isinstance(limits, FloatDistribution) for limits in planned()[0].space.values())


@pytest.mark.parametrize(
    ("space", "points"),
    [
        ({"smoothing": [0.1]}, 1),
        ({"smoothing": [0.1, 0.2], "epochs": {"low": 2, "high": 4}}, 6),
        ({"smoothing": {"low": 0.0, "high": 0.4, "step": 0.1}}, 5),
        ({"epochs": {"low": 2, "high": 6, "log": True}}, 5),
        ({"smoothing": {"low": 0.1, "high": 0.2}}, 12),
    ],
)
def test_a_space_of_few_points_gets_no_more_trials_than_it_has(space, points):
    assert {study.entry: study.trials for study in planned(methods=searched(**space), trials=12)}["label_smoothing"] == points


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_space_of_few_points_is_trained_point_by_point_the_default_first(tmp_path, sampler):
    spec = suite(methods=searched(smoothing=[0.3, 0.1, 0.2], epochs={"low": 29, "high": 30}), trials=9, sampler=sampler)
    search = Search(spec, studies(spec), Records(Storage(tmp_path)))
    trials = [search.next() for _ in range(search.total)]
    found = [tuple(trial.searched.values()) for trial in trials if trial and trial.entry == "label_smoothing"]
    assert found[0] == (0.1, 30)
    assert sorted(found) == [(smoothing, epochs) for smoothing in (0.1, 0.2, 0.3) for epochs in (29, 30)]


EXPERTS = {"batch_size": [16, 32, 64, 128], "max_nonzeros": {"low": 1, "high": 16}, "quadratic_weight": [0.1, 1.0]}


def drawn(folder: Path, **changes: object) -> tuple[Search, list[Trial]]:
    """Hands out every tuning trial of the first entry; none is trained."""
    spec = suite(**{"trials": 8, "sampler": "random", "confirm": {"seeds": 0}} | changes)
    study = next(study for study in studies(spec) if study.entry != "cross_entropy")
    search = Search(spec, [study], Records(Storage(folder)))
    return search, list(iter(search.next, None))


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes"])
def test_draws_that_the_method_refuses_are_recorded_and_eat_no_trial(tmp_path, sampler):
    """Eight experts must have room for the batch: with a default of 128 rows, no limit below 16 is taken."""
    search, trials = drawn(tmp_path, methods={"sparse_router": {"space": EXPERTS}}, sampler=sampler)
    assert len(trials) == 8
    assert all(8 * trial.settings["max_nonzeros"] >= trial.settings["batch_size"] for trial in trials)
    refused = [row for row in search.records.trials().to_pylist() if row["status"] == "refused"]
    assert refused
    assert all("cannot hold a batch" in row["reason"] and row["rounds"] == 0 for row in refused)
    assert sorted(trial.number for trial in search.records.planned()) == list(range(8 + len(refused)))
    resumed = Search(search.suite, [state.study for state in search.states.values()], search.records)
    again = [resumed.next() for _ in range(8)]
    assert sorted(trial.key for trial in again if trial) == sorted(trial.key for trial in trials)
    assert resumed.next() is None


def test_a_study_whose_draws_are_almost_all_refused_ends(tmp_path):
    """One draw in 200 has room for its batch."""
    space = {"max_nonzeros": {"low": 1, "high": 2000}, "quadratic_weight": [1.0]}
    fixed = {"experts": 1, "batch_size": 1990}
    search, trials = drawn(tmp_path, methods={"sparse_router": {"space": space, "settings": fixed}}, trials=2)
    assert len(trials) < 2
    state = next(iter(search.states.values()))
    assert len(state.refusals) == 2 * 20 - len(trials)
    assert search.done or trials


def test_a_space_without_a_point_that_can_be_is_refused_before_anything_runs():
    space = {"max_nonzeros": {"low": 1, "high": 9}, "quadratic_weight": [1.0]}
    assert "cannot hold a batch of 128" in refusal(methods={"sparse_router": {"space": space}})


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "nsga2"])
def test_no_point_of_a_finite_space_is_trained_twice(tmp_path, sampler):
    space = {"smoothing": [0.1, 0.2, 0.3], "epochs": {"low": 2, "high": 5}, "learning_rate": [0.1]}
    objectives = {"objectives": ["accuracy", "nll"]} if sampler == "nsga2" else {}
    _, trials = drawn(tmp_path, methods=searched(**space), trials=11, sampler=sampler, **objectives)
    points = [json.dumps(trial.searched, sort_keys=True) for trial in trials]
    assert len(points) == len(set(points)) == 11


def test_a_grid_is_counted_without_being_made():
    space = {"smoothing": {"low": 0.0, "high": 0.5}, "learning_rate": {"low": 0.01, "high": 0.1}}
    assert "900000000 grid points" in refusal(methods=searched(**space), sampler={"name": "grid", "points": 30_000})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"methods": {"cross_entropy": {"method": "label_smoothing"}}}, "'cross_entropy' is a track's baseline"),
        ({"data": ["digits", "digits"]}, "data: 'digits' is there twice"),
        ({"objectives": ["accuracy", "accuracy"], "sampler": "random"}, "objectives: 'accuracy' is there twice"),
        (
            {"methods": searched(smoothing={"low": 0.0, "high": 0.5, "step": 0.3})},
            "a step of 0.3 does not lead from low to high",
        ),
        ({"methods": searched(smoothing={"low": 0.0, "high": 0.5, "step": 0})}, "a step of 0 does not lead from low to high"),
        ({"seed": 1002}, "seed 1002 is that of tuning and one of the seeds 1000 to 1004 that confirm"),
        ({"seed": 3, "confirm": {"first_seed": 3, "seeds": 1}}, "change confirm.first_seed"),
    ],
)
def test_names_and_seeds_that_mean_two_things_are_refused_for_a_new_sweep(changes, reason):
    with pytest.raises(ConfigError) as caught:
        check_new(suite(**changes))
    assert reason in str(caught.value)


def test_a_sweep_of_an_older_version_keeps_its_shortened_range():
    with pytest.warns(UserWarning, match="not divisible"):
        found = planned(methods=searched(smoothing={"low": 0.0, "high": 0.5, "step": 0.2}))
    assert {study.entry: study.space for study in found}["label_smoothing"]["smoothing"].high == 0.4


def test_seeds_beside_those_that_confirm_are_fresh():
    check_new(suite(seed=999))
    check_new(suite(seed=1005))
    check_new(suite(seed=1000, confirm={"seeds": 0}))


def test_planning_a_sweep_imports_nothing_that_only_its_trials_or_its_end_need(tmp_path):
    # Made anew after a change of the code, which imports all methods: but for that, once.
    inventory()
    code = (
        "import sys, regbench.platform.sweep as sweep\n"
        "from regbench.platform.suite.spec import read_suite\n"
        "from regbench.platform.tracking.connection import check\n"
        "sweep.studies(read_suite('quickstart'))\n"
        "check(f'sqlite:///{sys.argv[1]}/mlflow.db')\n"
        "print(*sorted({'mlflow', 'ray', 'sklearn', 'skimage', 'matplotlib', 'statsmodels'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
