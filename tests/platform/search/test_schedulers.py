"""Schedulers follow the longest training that a space allows, and population-based training stays in the space.

Tune is played by a loop of a few lines: it gives trials slots, hands the scheduler their scores round by round, and obeys it.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.schedulers import TrialScheduler

from regbench.methods.errors import ConfigError
from regbench.platform.records.records import Records, Report
from regbench.platform.records.storage import Storage
from regbench.platform.search.exploration import explored
from regbench.platform.search.schedulers import ROUND, SCORE, StudySchedulers
from regbench.platform.suite.outline import outline
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.spec import Suite, parse_suite
from regbench.search_spaces.space import SearchSpace

LENGTHS = {"learning_rate": 0.05, "weight_decay": 0.0}


def suite(**changes: Any) -> Suite:
    methods = {"cross_entropy": {"settings": LENGTHS, "space": {"epochs": {"low": 20, "high": 80}}}}
    return parse_suite({"name": "s", "methods": methods, "sampler": "random", "trials": 12} | changes)


class FakeTrial:
    """What a scheduler sees of a trial of Tune."""

    is_saving = False

    def __init__(self, trial_id: str, config: dict[str, Any]) -> None:
        self.trial_id, self.config = trial_id, config
        self.status, self.round = "NEW", 0

    def is_finished(self) -> bool:
        return self.status == "TERMINATED"


class Tune:
    """Runs trials that plan so many rounds, some at a time, until all have ended; ``rounds`` are those that they trained."""

    def __init__(self, spec: Suite, planned: list[int], score: Callable[[int, int], float], tmp_path: Any) -> None:
        self.scheduler = StudySchedulers(
            spec, {study.name: study for study in studies(spec)}.__getitem__, Records(Storage(tmp_path))
        )
        config = {"study": "cross_entropy-digits", "stage": "tune", "params": {}}
        self.trials = [FakeTrial(str(number), config | {"rounds": rounds}) for number, rounds in enumerate(planned)]
        self.score = score
        for _ in range(2000):
            if all(trial.is_finished() for trial in self.trials):
                return
            self._start()
            for trial in [trial for trial in self.trials if trial.status == "RUNNING"]:
                self._train(trial)
        raise AssertionError("the sweep waits for what never comes")

    def get_live_trials(self) -> list[Any]:
        return [trial for trial in self.trials if trial.status not in ("NEW", "TERMINATED")]

    def stop_trial(self, trial: Any) -> None:
        trial.status = "TERMINATED"
        self.scheduler.on_trial_remove(self, trial)

    def _start(self) -> None:
        while [trial.status for trial in self.trials].count("RUNNING") < 3:
            if new := next((trial for trial in self.trials if trial.status == "NEW"), None):
                new.status = "PENDING"
                self.scheduler.on_trial_add(self, new)
            trial = self.scheduler.choose_trial_to_run(self)
            if trial is None and new is None:
                return
            if trial is not None:
                trial.status = "RUNNING"

    def _train(self, trial: Any) -> None:
        trial.round += 1
        result = {ROUND: trial.round, "training_iteration": trial.round, SCORE: self.score(int(trial.trial_id), trial.round)}
        decision = self.scheduler.on_trial_result(self, trial, result)
        if decision == TrialScheduler.STOP or trial.round == trial.config["rounds"]:
            self.scheduler.on_trial_complete(self, trial, result)
            trial.status = "TERMINATED"
        elif decision == TrialScheduler.PAUSE and trial.status == "RUNNING":
            trial.status = "PAUSED"

    @property
    def completed(self) -> list[int]:
        return [int(trial.trial_id) for trial in self.trials if trial.round == trial.config["rounds"]]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_the_best_of_the_longest_trials_is_trained_to_its_end(tmp_path, scheduler):
    """The longer a trial, the better it is, and the earlier it begins: those that come later can be told to be worse."""
    planned = [80, 80, 79, 70, 60, 50, 40, 35, 31, 30, 28, 20]
    done = Tune(suite(scheduler=scheduler), planned, lambda trial, round_: planned[trial] + 0.1 * round_, tmp_path)
    assert 0 in done.completed
    assert any(trial.round < trial.config["rounds"] for trial in done.trials), "nothing was stopped"
    # Nothing in the middle of training is special about the default of 30 rounds.
    assert not [trial for trial in done.trials if trial.round == 30 and trial.config["rounds"] != 30]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_a_trial_that_plans_fewer_rounds_than_a_rung_is_completed(tmp_path, scheduler):
    """The first rung of asha and median is at a third of 80 rounds; the worst trials end before."""
    planned = [20, 21, 22, 23, 24, 25, 80, 80, 80, 80, 80, 80]
    spec = suite(scheduler=scheduler)
    done = Tune(spec, planned, lambda trial, round_: trial + 0.1 * round_, tmp_path)
    if scheduler == "hyperband":
        assert {trial.round for trial in done.trials if trial.round < trial.config["rounds"]} <= {2, 6, 8, 18, 24, 26, 54, 72}
        assert 11 in done.completed
    else:
        assert set(range(6)) <= set(done.completed)


def test_hyperband_trains_those_that_it_keeps_to_the_end_of_a_length_that_is_no_power(tmp_path):
    """Of 30 rounds in thirds, a bracket's last milestone would be 27, after which Ray's stops what is left."""
    spec = suite(scheduler="hyperband", methods=["cross_entropy"], settings={"epochs": 30}, trials=27)
    done = Tune(spec, [30] * 27, lambda trial, round_: trial + 0.1 * round_, tmp_path)
    assert {trial.round for trial in done.trials} <= {1, 3, 9, 10, 30}
    assert 26 in done.completed


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_resumed_sweep_judges_by_the_trials_that_had_ended(tmp_path, scheduler):
    spec = suite(scheduler=scheduler)
    (study,) = studies(spec)
    records = Records(Storage(tmp_path))
    for number in range(4):
        trial = study.trial("tune", number, 0, {"epochs": 80})
        records.plan(trial)
        log = records.start_attempt(trial.key)
        for round_ in range(1, 81):
            log.report(Report(round_, 0.0, 0.0, {"val/accuracy": 0.9 + number / 100}))
        records.finish(trial, "completed")
    worse = Tune(spec, [80], lambda trial, round_: 0.5, tmp_path)
    assert worse.trials[0].round == 26


def planned(spec: Suite, entry: str) -> Study:
    return next(study for study in studies(spec) if study.entry == entry)


def test_rounds_that_follow_from_several_settings_are_the_most_and_the_fewest_of_their_combinations():
    space = {"iterations": {"low": 100, "high": 700}, "report_every": [10, 50, 100]}
    assert planned(suite(methods={"wgan": {"space": space}}), "wgan").rounds == (1, 70)


def test_a_setting_that_decides_only_beside_another_ones_choice_is_found():
    """Without a learner there is one round; with one, as many as the budget pays for."""
    space = {"learner": ["none", "maid"], "budget": {"low": 1000, "high": 9000}, "report_every": [500, 1000]}
    study = planned(suite(methods={"weighted_logistic_regression": {"space": space}}), "weighted_logistic_regression")
    assert study.rounds == (1, 18)


def test_a_plan_shows_the_lengths_and_a_grace_that_follows_the_longest():
    (found,) = outline(suite(scheduler="asha")).studies
    assert (found.fewest, found.rounds, found.grace) == (20, 80, 26)


CALIBRATED = {"jsd_level": 0.1, "batch_size": 200, "penalty": "sum"}
PBT = {"scheduler": "pbt", "sampler": "random"}


@pytest.mark.parametrize(
    ("methods", "names"),
    [
        (
            {"cross_entropy": {"space": {"architecture": ["mlp", "tiny_vit"], "optimizer": ["sgd", "adam"]}}},
            "architecture, opt",
        ),
        ({"cross_entropy": {"space": {"epochs": {"low": 2, "high": 4}}}}, "epochs of cross_entropy"),
        ({"manifold_entropy_gan": {"space": {"buffer_size": [512, 1024]}}}, "buffer_size of manifold_entropy_gan"),
        ({"crrelu": {}}, "epsilon_init of crrelu"),
        (
            {
                "plain_prediction": {"settings": {"batch_size": 200}},
                "fair": {"method": "distance_covariance_fairness", "settings": CALIBRATED},
            },
            "fairness_weight of fair",
        ),
    ],
)
def test_pbt_refuses_by_name_what_a_running_model_cannot_take(methods, names):
    with pytest.raises(ConfigError) as caught:
        studies(suite(**PBT, methods=methods))
    assert names in str(caught.value)
    assert "fix" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pbt_takes_what_a_running_model_can_change():
    assert studies(suite(**PBT, methods=["label_smoothing", "adversarial_comp_sum", "nonsaturating_gan"]))


SPACE = SearchSpace(
    {
        "coarse": FloatDistribution(0.1, 0.5, step=0.1),
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "few": IntDistribution(1, 4),
        "width": IntDistribution(16, 256, log=True),
        "fine": FloatDistribution(0.001, 0.1, log=True),
        "kind": CategoricalDistribution(["a", "b", "c"]),
    },
    steps={"width": 16, "fine": 0.003},
    odds={"kind": (0.0, 1.0, 0.0)},
)
START = {"coarse": 0.2, "rate": 0.1, "few": 2, "width": 32, "fine": 0.004, "kind": "b"}


def test_population_based_training_keeps_to_ranges_and_grids():
    numbers, values = random.Random(0), START
    seen = []
    for _ in range(400):
        values = explored(SPACE, values, numbers)
        assert values.keys() == START.keys()
        assert all(SPACE.holds(name, value) for name, value in values.items())
        seen.append(values)
    found = {name: {one[name] for one in seen} for name in START}
    assert found["coarse"] == {0.1, 0.2, 0.3, 0.4, 0.5}
    assert found["few"] == {1, 2, 3, 4}
    assert all(type(value) is int and value % 16 == 0 for value in found["width"])
    assert found["kind"] == {"a", "b", "c"}


def test_a_number_on_a_coarse_grid_moves_by_a_step_when_a_fifth_is_less():
    space = SearchSpace({"few": IntDistribution(1, 9), "depth": FloatDistribution(-0.5, 0.5, step=0.25)})
    moved = {
        (one["few"], one["depth"])
        for seed in range(200)
        for one in [explored(space, {"few": 2, "depth": -0.25}, random.Random(seed))]
    }
    few, depth = ({one[place] for one in moved} for place in (0, 1))
    assert {1, 3} <= few
    assert {-0.5, 0.0} <= depth


def test_values_drawn_anew_follow_the_odds_of_choices():
    numbers = random.Random(1)
    assert {SPACE.drawn("kind", numbers) for _ in range(50)} == {"b"}
