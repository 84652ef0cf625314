"""Every method has a search space that fits it; a suite's own ranges are taken, or refused in one line."""

import itertools
import json
import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

from regbench.methods.errors import ConfigError
from regbench.methods.registry import all_methods, create, method_class
from regbench.methods.shared.data import sources
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite
from regbench.search_spaces import ready_made_suites
from regbench.search_spaces.ranges import all_spaces, extremes, resolve, space
from regbench.search_spaces.space import SearchSpace, read_space

SEARCHED = [(slug, name) for slug, limits in all_spaces().items() for name in limits]
WEIGHTS = [(slug, name) for slug, method in all_methods().items() for name in method.weights()]

# Weights without a range, each with its reason.
NOT_SEARCHED = {
    ("manifold_entropy_gan", "code_norm_weight"): "acts in the cosine form only, an option that is not searched",
}

# Weights whose default lies outside their range, each with its reason.
OUTSIDE: dict[tuple[str, str], str] = {
    ("dual_latent_rescaling", "latent_cycle_weight"): "an option of the reconstruction, off unless it is searched",
}


def holds(limits, value) -> bool:
    if isinstance(limits, CategoricalDistribution):
        return value in limits.choices
    return value is not None and limits.low <= value <= limits.high


def ids(pairs):
    return [".".join(pair) for pair in pairs]


def test_every_method_has_a_space_and_every_space_a_method():
    assert set(all_spaces()) == set(all_methods())


@pytest.mark.parametrize(("slug", "name"), WEIGHTS, ids=ids(WEIGHTS))
def test_every_weight_is_searched_around_its_default(slug, name):
    limits = space(slug).get(name)
    assert (limits is None) == ((slug, name) in NOT_SEARCHED)
    if limits is not None:
        assert holds(limits, method_class(slug).weights()[name].default) == ((slug, name) not in OUTSIDE)


def test_exceptions_are_about_weights_that_exist():
    assert set(NOT_SEARCHED) | set(OUTSIDE) <= set(WEIGHTS)


@pytest.mark.parametrize(("slug", "name"), SEARCHED, ids=ids(SEARCHED))
def test_a_range_is_about_a_setting_and_is_not_a_point(slug, name):
    assert name in method_class(slug).model_fields
    assert len(set(extremes(space(slug)[name]))) > 1


@pytest.mark.parametrize("slug", all_spaces())
def test_the_method_takes_every_corner_of_its_space(slug):
    limits = space(slug)
    for corner in itertools.product(*map(extremes, limits.values())):
        settings = dict(zip(limits, corner, strict=True))
        method = create(slug, settings)
        assert {name: getattr(method, name) for name in settings} == settings


@pytest.mark.parametrize("track", {method.track.name: method.track for method in all_methods().values()}.values(), ids=str)
def test_the_data_sets_of_a_track_are_registered(track):
    assert set(track.data) <= set(sources())
    assert sources()[track.data[0]].folder is None, "the default data set is embedded"


@pytest.mark.parametrize("name", ready_made_suites())
def test_a_ready_made_suite_can_be_planned(name):
    suite = read_suite(name)
    assert suite.name == name.replace("/", "-")
    assert suite.description
    planned = studies(suite)
    assert {study.data for study in planned} <= set(sources())
    assert {study.method.track.baseline for study in planned} <= {study.method.slug for study in planned}


def test_a_list_makes_choices():
    found = resolve("ps_kd", {}, {"alpha_schedule": ["linear", "constant"]})["alpha_schedule"]
    assert found == CategoricalDistribution(["linear", "constant"])


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("final_alpha", {"low": 0.2, "high": 0.6}, FloatDistribution(0.2, 0.6)),
        ("final_alpha", {"low": 0.2, "high": 0.6, "step": 0.2}, FloatDistribution(0.2, 0.6, step=0.2)),
        ("learning_rate", {"low": 0.001, "high": 1, "log": True}, FloatDistribution(0.001, 1, log=True)),
        ("final_alpha", {"low": 0, "high": 1}, FloatDistribution(0.0, 1.0)),
        ("batch_size", {"low": 16, "high": 64}, IntDistribution(16, 64)),
        ("batch_size", {"low": 1e1, "high": 1e2}, IntDistribution(10, 100)),
        # The setting's kind decides, not that of the limits.
        ("gradient_clip", {"low": 1, "high": 3}, FloatDistribution(1.0, 3.0)),
        # Choices are what the method makes of them.
        ("batch_size", ["32", "64"], CategoricalDistribution([32, 64])),
        ("final_alpha", [0, 1], CategoricalDistribution([0.0, 1.0])),
        ("batch_size", {"low": 16, "high": 64, "log": True}, IntDistribution(16, 64, log=True)),
        ("batch_size", {"low": 16, "high": 64, "step": 16}, IntDistribution(16, 64, step=16)),
    ],
)
def test_low_and_high_make_a_range_of_the_settings_kind(setting, value, expected):
    assert resolve("ps_kd", {}, {setting: value})[setting] == expected


def test_a_suites_range_replaces_the_default_and_leaves_the_others():
    default = space("ps_kd")
    found = resolve("ps_kd", {}, {"final_alpha": [0.3, 0.5]})
    assert dict(found) == default | {"final_alpha": CategoricalDistribution([0.3, 0.5])}
    assert space("ps_kd") == default


def test_a_fixed_setting_is_not_searched():
    assert set(resolve("ps_kd", {"learning_rate": 0.1}, {})) == set(space("ps_kd")) - {"learning_rate"}


@pytest.mark.parametrize(
    ("fixed", "ranges", "parts"),
    [
        ({}, {"final_alhpa": [0.1]}, ["ps_kd", "'final_alhpa'", "did you mean 'final_alpha'?"]),
        ({}, {"final_alpha": {"low": 0.1, "high": 0.5, "setp": 0.1}}, ["'setp'", "did you mean 'step'?"]),
        ({}, {"final_alpha": {"low": 0.1, "hihg": 0.5}}, ["ps_kd.final_alpha", "low", "high"]),
        ({}, {"final_alpha": 0.5}, ["ps_kd.final_alpha", "list of choices"]),
        ({}, {"final_alpha": []}, ["ps_kd.final_alpha", "list of choices"]),
        ({}, {"final_alpha": {"low": 0.5, "high": 0.1}}, ["ps_kd.final_alpha"]),
        ({}, {"learning_rate": {"low": 0.0, "high": 0.1, "log": True}}, ["ps_kd.learning_rate"]),
        ({}, {"learning_rate": {"low": "small", "high": 0.1}}, ["ps_kd.learning_rate", "low must be a finite number"]),
        ({}, {"learning_rate": {"low": 0.1, "high": "0.2"}}, ["high must be a finite number, without quotes, not '0.2'"]),
        ({}, {"learning_rate": {"low": 0.1, "high": math.inf}}, ["high must be a finite number"]),
        ({}, {"learning_rate": {"low": True, "high": 2.0}}, ["low must be a finite number"]),
        ({}, {"learning_rate": {"low": None, "high": 2.0, "step": 0.1}}, ["low must be a finite number"]),
        ({}, {"learning_rate": {"low": 0.1, "high": 0.2, "log": "yes"}}, ["log must be true or false, not 'yes'"]),
        ({}, {"batch_size": {"low": 1.5, "high": 8}}, ["low must be a whole number, as batch_size is, not 1.5"]),
        ({}, {"batch_size": ["32", 32]}, ["a choice is there twice"]),
        ({}, {"learning_rate": {"low": 0.1, "high": 1e300, "step": 0.1}}, ["a step of 0.1 is too small"]),
        ({"final_alpha": 0.5}, {"final_alpha": [0.1, 0.2]}, ["'final_alpha'", "both fixed to 0.5 and searched"]),
        ({}, {"final_alpha": {"low": 0.5, "high": 1.5}}, ["ps_kd.final_alpha includes 1.5", "must be at most 1"]),
        ({}, {"alpha_schedule": ["linear", "quadratic"]}, ["ps_kd.alpha_schedule includes 'quadratic'"]),
    ],
)
def test_a_range_that_cannot_be_is_refused_in_one_line(fixed, ranges, parts):
    with pytest.raises(ConfigError) as caught:
        resolve("ps_kd", fixed, ranges)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_range_is_checked_together_with_what_is_fixed():
    """Sparse transport refuses a limit of nonzeros without a quadratic weight, whatever the limit."""
    with pytest.raises(ConfigError, match="needs quadratic_weight > 0"):
        resolve("sparse_transport", {"quadratic_weight": 0.0}, {})


RANGES = {"rate": FloatDistribution(0.1, 1.0, log=True), "kind": CategoricalDistribution(["a", "b"])}
WRITTEN = {name: distribution_to_json(limits) for name, limits in RANGES.items()}


@pytest.mark.parametrize(
    "facts",
    [
        {"space": {"rate": "none"}},
        {"space": ["rate"]},
        {"space": {"rate": None}},
        {"space": WRITTEN, "when": {"rate": {"kind": None}}},
        {"space": WRITTEN, "when": ["rate"]},
        {"space": WRITTEN, "when": {"rate": {"kind": ["a"]}, "kind": {"rate": [0.1]}}},
        {"space": WRITTEN, "steps": {"rate": "wide"}},
        {"space": WRITTEN, "odds": {"kind": [1]}},
        {"space": WRITTEN, "odds": {"kind": 3}},
    ],
)
def test_facts_that_describe_no_space_are_refused_as_one_kind_of_error(facts):
    with pytest.raises(ValueError, match="Error"):
        read_space(facts)


def test_a_space_is_what_its_description_says():
    given = SearchSpace(RANGES, {"rate": {"kind": ("b",)}}, {"rate": 0.1}, {"kind": (0.25, 0.75)})
    assert read_space(json.loads(json.dumps(given.describe()))) == given
    assert read_space({"space": WRITTEN}) == SearchSpace(RANGES)
    assert read_space({}) == SearchSpace()


def test_an_unknown_method_is_named():
    with pytest.raises(ConfigError, match=r"unknown method 'ps_kt'; did you mean 'ps_kd'\?"):
        resolve("ps_kt", {}, {})
