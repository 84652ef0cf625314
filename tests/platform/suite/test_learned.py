"""``sampler: bilevel``: which suites it takes, what it trains, and that its sweeps are recorded and resumed like any other."""

import io
import json

import pytest
from mlflow import MlflowClient
from rich.console import Console

from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.platform import sweep as engine
from regbench.platform.catalog import method_page, methods_table, plan_table
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.report import render
from regbench.platform.execution.trial import Place, train
from regbench.platform.inventory.inventory import inventory
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.search.search import Search
from regbench.platform.suite.learned import NO_GUARANTEE, how_learned
from regbench.platform.suite.outline import outline
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import parse_suite
from regbench.platform.tracking.exporter import Exporter

# 120 passes over the training rows: three upper iterations of 4 epochs and a hypergradient.
TINY = {
    "name": "learned",
    "methods": ["label_smoothing"],
    "data": ["digits_noisy"],
    "settings": {"epochs": 4},
    "trials": 30,
    "sampler": "bilevel",
    "execution": "inline",
    "confirm": {"seeds": 2},
    "checkpoint_seconds": 0,
}


def planned(**changes):
    return {study.entry: study for study in studies(parse_suite(TINY | changes))}


def text(renderable):
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        (["mixup"], "mixup.alpha: the training objective is not differentiable in it; fix alpha under `settings`"),
        (["ps_kd"], "ps_kd.final_alpha: its objective reads a memory of past epochs"),
        (["crrelu"], "crrelu.epsilon_init: the training objective is not differentiable"),
        (["sinkhorn"], "sinkhorn.entropic_weight: its training minimizes no single objective"),
        (["manifold_entropy_gan"], "manifold_entropy_gan.entropy_weight: its training minimizes no single objective"),
        (["nonsaturating_gan"], "nonsaturating_gan has no weights in its search space"),
        ({"label_smoothing": {"space": {"smoothing": [0.1, 0.2]}}}, "smoothing: its range is of whole numbers or choices"),
        (
            {"label_smoothing": {"space": {"learning_rate": {"low": 0.01, "high": 0.1}}}},
            "a range to learning_rate, which is none",
        ),
        ({"label_smoothing": {"settings": {"optimizer": "adam"}}}, "decoupled weight decay minimizes no objective"),
        ({"label_smoothing": {"settings": {"epochs": 1}, "method": "label_smoothing"}}, "pay for 0 upper iterations"),
        ({"total_variation": {"settings": {"learner": "none"}}}, "its settings have learner none"),
        ({"total_variation": {"settings": {"learner": "tpe"}}}, "have learner tpe: choose maid, hoag or fixed"),
        (
            {"weighted_logistic_regression": {"space": {"decay": {"low": 1e-4, "high": 0.1, "log": True}}}},
            "in a range of its own: leave decay out",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_with_the_reason(methods, reason):
    # Settings that no method of a suite has are refused before: few of these have epochs.
    shared = TINY["settings"] if {"label_smoothing", "mixup", "ps_kd", "crrelu"} & set(methods) else {}
    with pytest.raises(ConfigError) as caught:
        planned(methods=methods, data=None, settings=shared)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_suite_learns_one_objective_without_scheduler_in_one_process():
    for changes, reason in [
        ({"scheduler": "asha", "execution": "tune"}, "one that learns: use none"),
        ({"objectives": ["accuracy", "nll"]}, "one validation loss"),
        ({"execution": "train", "workers": 2}, "set workers to 1"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            parse_suite(TINY | changes)
    parse_suite(TINY | {"execution": "train"})
    parse_suite(TINY | {"execution": "tune"})


def test_one_trial_learns_the_weights_and_leaves_every_other_setting_alone():
    found = planned(methods=["comp_sum", "trades"], settings={"epochs": 10})
    assert {entry: study.trials for entry, study in found.items()} == dict.fromkeys(found, 1)
    assert {entry: set(study.space) for entry, study in found.items()} == {
        "cross_entropy": set(),
        "comp_sum": {"tau", "rho"},
        "trades": {"beta"},
    }
    # 300 epochs, in iterations of 10 epochs, 4 gradients and 16 products.
    assert found["comp_sum"].learning_rounds == 300 // (10 + 4 + 2 * 16)
    assert found["cross_entropy"].learning_rounds is None
    trial = found["comp_sum"].trial("tune", 0, 0, found["comp_sum"].defaults())
    assert trial.settings == create("comp_sum", {"epochs": 10}).model_dump()
    assert trial.planned_rounds == found["comp_sum"].learning_rounds
    assert trial.ranges == {"tau": (0.0, 2.0, False), "rho": (0.1, 10.0, True)}
    assert trial.learned == NO_GUARANTEE
    confirmation = found["comp_sum"].trial("confirm", 0, 1000, {"tau": 1.3, "rho": 2.0})
    assert (confirmation.planned_rounds, confirmation.learned, confirmation.ranges) == (10, None, {})


def test_a_weight_that_the_suite_fixes_is_not_learned():
    entries = {
        "half": {"method": "comp_sum", "settings": {"rho": 1.0}},
        "plain": {"method": "mixup", "settings": {"alpha": 1.0}},
    }
    found = planned(methods=entries)
    assert set(found["half"].space) == {"tau"}
    assert not found["plain"].space
    assert found["plain"].learning_rounds is None
    assert found["plain"].trials == 1


def test_what_learns_exactly_learns_by_itself_in_every_stage():
    (study,) = (s for s in planned(methods=["total_variation"], data=None, trials=6, settings={}).values() if not s.space
                and s.entry == "total_variation")  # fmt: skip
    for stage in ("tune", "confirm"):
        trial = study.trial(stage, 0, 0, {})
        assert trial.settings["learner"] == trial.learned == "maid"
        assert trial.settings["budget"] == 3000
        assert trial.planned_rounds == trial.settings["upper_iterations"] == 12
    off = study.trial("ablate", 0, 0, {}, off=True)
    assert (off.planned_rounds, off.learned) == (1, None)
    certified = {"total_variation": {"settings": {"check_descent": True, "budget": 100}}}
    trial = planned(methods=certified, data=None, settings={})["total_variation"].trial("tune", 0, 0, {})
    assert trial.learned == "maid, certified descent"
    assert trial.settings["budget"] == 100


def test_descent_is_certified_by_a_bound_of_the_jacobian_and_not_by_an_estimate():
    bounded = create("total_variation", {"learner": "maid", "check_descent": True})

    class Estimated(type(bounded)):
        bounds_jacobian = False

    assert how_learned(bounded) == "maid, certified descent"
    assert how_learned(Estimated(**bounded.model_dump())) == "maid, descent tested with an estimate of ‖J‖, no guarantee"


def test_lists_say_what_can_be_learned():
    rows = {line.split()[1]: line for line in text(methods_table("classification")).splitlines() if line.startswith("│")}
    assert "approximately" in rows["label_smoothing"]
    assert "exactly" in rows["weighted_logistic_regression"]
    assert rows["mixup"].rstrip(" │").endswith("no")
    page = text(method_page(inventory().method("ps_kd")))
    assert "final_alpha: no, its objective reads a memory" in page
    assert "smoothing: approximately" in text(method_page(inventory().method("label_smoothing")))
    table = text(plan_table(parse_suite(TINY), outline(parse_suite(TINY))))
    assert "learned in 3 upper iterations" in table


def run(folder, suite=TINY, tracking="none"):
    return engine.start(parse_suite(suite), Storage(folder), tracking, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    outcome = run(folder, tracking=f"sqlite:///{folder}/mlflow.db")
    assert outcome.complete
    assert not outcome.failed
    return folder


def rows_of(folder):
    return {row["key"]: row for row in Records(Storage(folder).child("learned")).trials().to_pylist()}


def test_a_sweep_confirms_what_it_learned(swept):
    rows = rows_of(swept)
    stages = [row["stage"] for row in rows.values()]
    assert {stage: stages.count(stage) for stage in stages} == {"tune": 2, "confirm": 4, "ablate": 2}
    tuned = rows["label_smoothing-digits_noisy-tune-0000"]
    assert tuned["learned"] == NO_GUARANTEE
    assert tuned["rounds"] == tuned["planned_rounds"] == 3
    learned = json.loads(tuned["searched"])
    assert learned == {"smoothing": dict(tuned["metrics"])["learned/smoothing"]}
    assert json.loads(tuned["settings"])["smoothing"] == learned["smoothing"]
    assert not [name for name, _ in tuned["metrics"] if name.startswith("test/")]
    for number in range(2):
        confirmed = rows[f"label_smoothing-digits_noisy-confirm-{number:04d}"]
        assert json.loads(confirmed["settings"])["smoothing"] == learned["smoothing"]
        assert confirmed["rounds"] == 4
        assert confirmed["learned"] is None


def test_the_comparison_and_the_report_tell_how_weights_were_learned(swept):
    comparison = compare(Records(Storage(swept).child("learned")))
    entries = comparison.entries.set_index("entry")
    assert entries["learned"].to_dict() == {"label_smoothing": NO_GUARANTEE, "cross_entropy": ""}
    losses = comparison.learning[comparison.learning["quantity"] == "upper_loss"]
    assert list(losses["round"]) == [1, 2, 3]
    # An iteration whose weight could not move would have been the last one that costs.
    assert losses["cost"].iloc[0] == 40.0
    assert set(losses["cost"]) <= {40.0, 80.0, 120.0}
    # Of the 40 passes, 4 are epochs and 4 gradients.
    assert (5 * losses["lower_iterations"] == losses["cost"]).all()
    assert losses["seconds"].is_monotonic_increasing
    notes = " ".join(comparison.notes["note"])
    assert f"weights learned by {NO_GUARANTEE}, in one tuning trial" in notes
    assert "not at equal" not in notes
    assert comparison.sensitivity.empty
    page = render(comparison)
    assert "Learned weights" in page
    assert "upper loss over passes over the data" in page
    assert "not drawn" not in page
    assert f"label_smoothing: {NO_GUARANTEE}" in page


def test_mlflow_has_every_upper_iteration_and_the_learned_weights(swept):
    uri = f"sqlite:///{swept}/mlflow.db"
    assert "up to date" in str(Exporter(Records(Storage(swept).child("learned")), uri).sync(final=True))
    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "regbench/classification")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.learned = '{NO_GUARANTEE}'")
    tuned = rows_of(swept)["label_smoothing-digits_noisy-tune-0000"]
    assert float(found.data.params["smoothing"]) == json.loads(tuned["searched"])["smoothing"]
    for name in ("weight/smoothing", "learn/upper_loss", "learn/hypergradient_norm", "learn/step_size"):
        assert [point.step for point in client.get_metric_history(found.info.run_id, name)] == [1, 2, 3]


class Killed(BaseException):
    """As if the process ended here."""


def test_a_sweep_that_dies_while_learning_goes_on_with_the_same_numbers(swept, tmp_path):
    records = Records(Storage(tmp_path).child("learned"))
    suite = parse_suite(TINY)
    records.storage.write("suite.json", json.dumps(engine.describe(suite, studies(suite))).encode())
    search = Search(suite, studies(suite), records)
    trial = next(trial for trial in iter(search.next, None) if trial.entry == "label_smoothing")

    def die(report):
        if report.round == 2:
            raise Killed

    with pytest.raises(Killed):
        train(trial, Place(records.storage.uri, checkpoint_seconds=0), die)
    outcome = engine.resume("learned", Storage(tmp_path), "none", Console(file=io.StringIO()))
    assert outcome.complete
    before, after = rows_of(swept), rows_of(tmp_path)
    assert after[trial.key]["attempts"] == 2
    assert before.keys() == after.keys()
    for key, row in before.items():
        for name in ("searched", "settings", "metrics", "values", "rounds", "learned"):
            assert after[key][name] == row[name], (key, name)
    curves = [
        Records(Storage(folder).child("learned")).curves().drop_columns(["time", "seconds"]) for folder in (swept, tmp_path)
    ]
    assert curves[0].equals(curves[1])


def test_a_trial_that_learns_survives_json():
    trial = planned()["label_smoothing"].trial("tune", 0, 0, {"smoothing": 0.1})
    assert type(trial).from_json(trial.to_json()) == trial
    assert trial.ranges == {"smoothing": (0.0, 0.5, False)}


def test_exact_learning_sweeps_too(tmp_path):
    suite = TINY | {
        "methods": {"weighted_logistic_regression": {"settings": {"held_out": 0.3}}},
        "data": ["digits"],
        "trials": 2,
    }
    assert run(tmp_path, suite).complete
    rows = rows_of(tmp_path)
    assert rows["weighted_logistic_regression-digits-tune-0000"]["learned"] == "maid"
    # On fresh seeds it learns anew, on other rows.
    decays = [
        dict(rows[f"weighted_logistic_regression-digits-confirm-{number:04d}"]["metrics"])["weight/decay"]
        for number in range(2)
    ]
    assert decays[0] != decays[1]
    assert "decay=" in render(compare(Records(Storage(tmp_path).child("learned"))))
