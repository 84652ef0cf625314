"""A suite is read strictly: what it says is used, or refused in one line that says what to change."""

from itertools import product

import pytest

from regbench.methods.errors import ConfigError
from regbench.platform.suite.spec import Suite, parse_suite, read_suite

SAMPLERS = ["grid", "random", "tpe", "gp", "cmaes", "nsga2"]
SCHEDULERS = ["none", "asha", "hyperband", "pbt", "median"]
TWO = ["accuracy", "nll"]
# Optuna's samplers of one objective go with every early stopping rule; pbt makes its own configurations.
WITH_ONE = {*product(["grid", "random", "tpe", "gp", "cmaes"], ["none", "asha", "hyperband", "median"]), ("random", "pbt")}
WITH_TWO = set(product(["grid", "random", "tpe", "nsga2"], ["none"]))


def suite(**changes: object) -> Suite:
    return parse_suite({"name": "s", "methods": ["ps_kd"]} | changes)


def refusal(**changes: object) -> str:
    with pytest.raises(ConfigError) as caught:
        suite(**changes)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"trails": 3}, "unknown key 'trails'; did you mean 'trials'?"),
        ({"sampler": {"name": "tpe", "statup": 3}}, "unknown key 'statup'; did you mean 'startup'?"),
        ({"scheduler": {"name": "asha", "gracee": 3}}, "unknown key 'gracee'; did you mean 'grace'?"),
        ({"confirm": {"seed": 3}}, "unknown key 'seed'; did you mean 'seeds'?"),
        ({"resources": {"gpus": 1}}, "unknown key 'gpus'; did you mean 'gpu'?"),
        ({"methods": {"ps_kd": {"setings": {}}}}, "unknown key 'setings'; did you mean 'settings'?"),
        ({"resources": {"memory": 1}}, "unknown key 'memory'; known: cpu, gpu"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(changes, hint):
    assert hint in refusal(**changes)


@pytest.mark.parametrize(("sampler", "scheduler"), product(SAMPLERS, SCHEDULERS))
@pytest.mark.parametrize(("objectives", "allowed"), [(["accuracy"], WITH_ONE), (TWO, WITH_TWO)])
def test_exactly_the_pairs_that_can_work_together_pass(sampler, scheduler, objectives, allowed):
    chosen = {"sampler": sampler, "scheduler": scheduler, "objectives": objectives}
    if (sampler, scheduler) in allowed:
        assert (suite(**chosen).sampler.name, suite(**chosen).scheduler.name) == (sampler, scheduler)
    else:
        message = refusal(**chosen)
        assert sampler in message or scheduler in message
        assert "use" in message


@pytest.mark.parametrize(("execution", "scheduler"), product(["tune", "train", "inline"], SCHEDULERS))
def test_only_tune_stops_trials_early(execution, scheduler):
    chosen = {"execution": execution, "scheduler": scheduler, "sampler": "random"}
    if execution == "tune" or scheduler == "none":
        assert suite(**chosen).execution == execution
    else:
        assert "execution tune" in refusal(**chosen)


@pytest.mark.parametrize("execution", ["tune", "inline"])
def test_several_workers_need_ray_train(execution):
    assert "execution train" in refusal(workers=2, execution=execution)
    assert suite(workers=2, execution="train").workers == 2


def test_population_based_training_needs_a_population():
    assert "4 or more" in refusal(sampler="random", scheduler="pbt", trials=3)


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/b", "a\\b", "", " ", "a b", ".", "..", ".hidden", "-x", "x\n", "x" * 65, "é"]
)
def test_names_of_sweeps_and_entries_stay_inside_the_storage(name):
    assert "name" in refusal(name=name)
    assert "methods" in refusal(methods={name: {"method": "ps_kd"}})


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 0},
        {"trials": 2.5},
        {"trials": "many"},
        {"seed": -1},
        {"retries": -1},
        {"workers": 0, "execution": "train"},
        {"checkpoint_seconds": -1},
        {"diagnostics": []},
        {"diagnostics": ["dsee"]},
        {"diagnostics": {"names": ["dse"], "every": 0}},
        {"diagnostics": {"layers": ["model.*"]}},
        {"checkpoint_seconds": float("nan")},
        {"checkpoint_seconds": float("inf")},
        {"resources": {"cpu": 0}},
        {"resources": {"gpu": -0.5}},
        {"resources": {"gpu": 1.5}},
        {"resources": {"cpu": float("inf")}},
        {"confirm": {"seeds": -1}},
        {"confirm": {"first_seed": -1}},
        {"confirm": {"first_seed": 10**19}},
        {"seed": 10**19},
        {"scheduler": {"name": "asha", "grace": 0}},
        {"scheduler": {"name": "asha", "reduction": 1}},
        {"sampler": {"name": "grid", "points": 1}},
        {"sampler": {"name": "tpe", "startup": 0}},
        {"sampler": "bayes"},
        {"scheduler": "sha"},
        {"execution": "threads"},
        {"objectives": []},
        {"objectives": ["accuracy", "nll", "ece"]},
        {"data": []},
        {"methods": []},
        {"methods": {}},
        {"methods": "ps_kd"},
        {"methods": ["ps_kd", "ps_kd"]},
        {"methods": [{"ps_kd": {}}]},
        {"methods": [None]},
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused_by_its_key(changes):
    assert next(iter(changes)) in refusal(**changes)


def test_short_forms_stand_for_the_long_ones():
    short = suite(methods=["ps_kd", "crrelu"], sampler="gp", scheduler="median")
    long = suite(methods={"ps_kd": None, "crrelu": {}}, sampler={"name": "gp"}, scheduler={"name": "median"})
    assert short == long


def test_a_suite_survives_its_own_json():
    spec = read_suite("quickstart")
    assert parse_suite(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "not valid YAML"),
        ("- ps_kd", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("name: s\nmethods: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("name: s\nmethods: !!python/name:os.getcwd", "not valid YAML"),
        ("name: s\nmethods: {ps_kd: {}, ps_kd: {}}", "'ps_kd' is there twice"),
        ("name: s\nmethods: [ps_kd]\ntrials: 1\ntrials: 2", "'trials' is there twice"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_file_that_holds_no_suite_says_why(tmp_path, text, reason):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_suite(path)
    message = str(caught.value)
    assert reason in message
    assert "mine.yaml" in message
    assert len(message.splitlines()) == 1


def test_numbers_in_exponent_notation_are_numbers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: s\nmethods: {ps_kd: {space: {learning_rate: [1e-3, 1e-2, 1.5e-2]}}}")
    assert read_suite(path).methods["ps_kd"].space == {"learning_rate": [0.001, 0.01, 0.015]}


def test_entries_may_share_and_override_details(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: s\nmethods:\n  a: &a {method: ps_kd, settings: {epochs: 1}}\n  b: {<<: *a, settings: {epochs: 2}}\n"
        "  c: {<<: *a, space: {final_alpha: [0.5]}}"
    )
    found = read_suite(path).methods
    assert [found[name].settings for name in "abc"] == [{"epochs": 1}, {"epochs": 2}, {"epochs": 1}]
    assert found["c"].space == {"final_alpha": [0.5]}


def test_a_missing_file_or_suite_says_what_is_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read suite .*none\.yaml: No such file"):
        read_suite(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"no suite and no file 'quickstat'; did you mean 'quickstart'\?"):
        read_suite("quickstat")


def test_settings_that_name_files_are_seen_from_the_suite(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "name: s\n"
        "methods: {a: {method: ps_kd, settings: {initial_weights: own/a.pt}}, ps_kd: }\n"
        "settings: {architecture: 'hf:model', initial_weights: /b.pt, epochs: 3}\n"
    )
    found = read_suite(tmp_path / "s.yaml")
    assert found.methods["a"].settings == {"initial_weights": f"{tmp_path}/own/a.pt"}
    assert found.settings == {"architecture": f"hf:{tmp_path}/model", "initial_weights": "/b.pt", "epochs": 3}
    assert found.methods["ps_kd"].settings == {}


def test_a_policy_beside_the_suite_is_seen_from_it_and_others_are_below_the_folder_of_data(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "s.yaml").write_text(
        "name: s\nmethods: {grpo: {settings: {policy: 'hf:own'}}, siren: }\nsettings: {policy: 'hf:other'}\n"
    )
    found = read_suite(tmp_path / "s.yaml")
    assert found.methods["grpo"].settings == {"policy": f"hf:{tmp_path}/own"}
    assert found.settings == {"policy": "hf:other"}
