"""A sweep can become more of the same, or be run in another way: what has ended is kept, a new best is confirmed anew."""

import json
import time

import pytest
from rich.console import Console

from regbench.methods.classification.label_smoothing import LabelSmoothing
from regbench.methods.errors import ConfigError
from regbench.methods.run import Run
from regbench.platform import sweep as engine
from regbench.platform.comparison.compare import compare
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.status import SweepStatus
from regbench.platform.suite.growth import growth
from regbench.platform.suite.names import check_names
from regbench.platform.suite.spec import Suite, parse_suite

QUIET = Console(quiet=True)
BASE = {
    "name": "s",
    "methods": ["label_smoothing"],
    "data": ["digits_small"],
    "settings": {"epochs": 2},
    "trials": 2,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 2},
}


def suite(**changes: object) -> Suite:
    return parse_suite(BASE | changes)


def files(records: Records) -> dict[str, bytes]:
    return {key: records.storage.read(f"records/trials/{key}.parquet") for key in records.ended()}


def table(records: Records) -> list[dict[str, object]]:
    frame = compare(records).entries
    return json.loads(frame[["entry", "mean", "low", "high", "completed", "configuration"]].to_json(orient="records"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"trials": 3}, ["trials 2 → 3"]),
        ({"confirm": {"seeds": 3}}, ["confirm.seeds 2 → 3"]),
        ({"replicates": 3}, ["replicates 1 → 3"]),
        (
            {"until": "decided", "at_most": 9, "relevant": "1%"},
            ["until None → decided", "relevant None → 1%", "at_most None → 9"],
        ),
        ({"relevant": 0.01}, ["relevant None → 0.01"]),
        ({"methods": ["label_smoothing", "mixup"]}, ["methods + mixup"]),
        ({"data": ["digits_small", "digits"]}, ["data + digits"]),
        ({"execution": "tune", "retries": 0, "hours": 2}, ["execution inline → tune", "retries 3 → 0", "hours None → 2.0"]),
        ({"description": "x"}, ["description"]),
    ],
)
def test_growth_is_told(changes, told):
    assert growth(suite(), suite(**changes)) == told


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trials": 1}, "trials"),
        ({"confirm": {"seeds": 1}}, "confirm.seeds"),
        ({"confirm": {"seeds": 3, "first_seed": 2000}}, "confirm"),
        ({"methods": ["mixup"]}, "methods.label_smoothing"),
        ({"methods": {"label_smoothing": {"settings": {"smoothing": 0.2}}}}, "methods.label_smoothing"),
        ({"data": ["digits"]}, "data"),
        ({"data": None}, "data"),
        ({"settings": {"epochs": 3}}, "settings"),
        ({"seed": 1, "sampler": "tpe"}, "sampler, seed"),
        ({"select": "best_round"}, "select"),
        ({"choose": {"top": 2, "seeds": 1}}, "choose"),
        ({"replicates": 2, "confirm": {"seeds": 3}}, "confirm.seeds or replicates"),
    ],
)
def test_another_suite_is_refused_by_what_differs(changes, named):
    with pytest.raises(ConfigError, match=f"differs in {named}"):
        growth(suite(), suite(**changes))


def test_what_a_sweep_has_cannot_become_less():
    larger = suite(replicates=3, until="decided", at_most=9, relevant=0.01)
    for changes, named in (({"replicates": 2}, "replicates"), ({"at_most": 8}, "at_most")):
        with pytest.raises(ConfigError, match=rf"differs in {named} \(there can only be more\)"):
            growth(larger, suite(**{"replicates": 3, "until": "decided", "at_most": 9, "relevant": 0.01} | changes))
    assert growth(larger, suite(replicates=3)) == ["until decided → None", "relevant 0.01 → None"]


def test_a_replicate_trains_and_tests_on_its_own_split(tmp_path):
    """With ``resplit``, the second replicate's trainings are those of a run on the second split, number for number."""
    storage = Storage(tmp_path)
    assert engine.start(suite(replicates=2, resplit=True, confirm={"seeds": 1}), storage, "none", QUIET).complete
    records = Records(storage.child("s"))
    rows = [row for row in records.trials().to_pylist() if row["entry"] == "label_smoothing" and row["stage"] == "confirm"]
    assert [row["split"] for row in rows] == [0, 1]
    for row in rows:
        method = LabelSmoothing(**json.loads(row["settings"]))
        *_, last = method.train(Run("digits_small", seed=row["seed"], split=row["split"], test=True))
        assert last == dict(row["metrics"])
    (study, _) = json.loads(records.storage.read("suite.json"))["studies"]
    assert study["overlap"] == pytest.approx(597 / 1797)


def test_resplit_refuses_data_whose_split_its_publishers_fix():
    with pytest.raises(ConfigError, match="data set 'fashion_mnist' has one split only"):
        check_names(suite(replicates=2, resplit=True, data=["fashion_mnist"]))


def test_a_sweep_that_has_grown_is_the_larger_sweep_and_keeps_what_had_ended(tmp_path):
    """Six trials find a better configuration than two: it is confirmed, and the earlier confirmations are not judged."""
    small, large = suite(), suite(trials=6, confirm={"seeds": 3}, methods=["label_smoothing", "confidence_penalty"])
    storage, fresh = Storage(tmp_path / "grown"), Storage(tmp_path / "fresh")
    assert engine.start(small, storage, "none", QUIET).complete
    records = Records(storage.child("s"))
    before = files(records)
    outcome = engine.resume("s", storage, "none", QUIET, large)
    assert outcome.complete
    assert files(records).items() >= before.items()
    assert engine.start(large, fresh, "none", QUIET).complete
    assert table(records) == table(Records(fresh.child("s")))
    chosen = {row["confirms"] for row in records.trials().to_pylist() if row["entry"] == "label_smoothing"} - {None}
    assert len(chosen) == 2, "the case is one in which the choice changes"
    status = SweepStatus("s", records)
    assert status.state == "complete"
    (grown,) = json.loads(records.storage.read("suite.json"))["grown"]
    assert grown["changes"] == ["trials 2 → 6", "confirm.seeds 2 → 3", "methods + confidence_penalty"]
    assert "trials 2 → 6" in records.storage.read("report/report.html").decode()


def test_how_a_sweep_is_run_changes_no_number(tmp_path):
    storage = Storage(tmp_path)
    assert engine.start(suite(), storage, "none", QUIET).complete
    records = Records(storage.child("s"))
    before = files(records)
    assert engine.resume("s", storage, "none", QUIET, suite(retries=7, checkpoint_seconds=0)).complete
    assert files(records) == before


def test_a_time_limit_confirms_what_it_has_and_is_resumed(tmp_path, monkeypatch):
    """Each training of label smoothing outlasts the limit, which begins when the sweep does."""
    train = LabelSmoothing.train

    def slow(self, run):
        for metrics in train(self, run):
            if run.round == 1 and not run.test:
                time.sleep(1.5)
            yield metrics

    monkeypatch.setattr(LabelSmoothing, "train", slow)
    storage = Storage(tmp_path / "limited")
    limited = suite(hours=2 / 3600, trials=4, checkpoint_seconds=0)
    outcome = engine.start(limited, storage, "none", QUIET)
    records = Records(storage.child("s"))
    assert outcome.complete
    assert "label_smoothing-digits_small" in outcome.untuned
    rows = records.trials().to_pylist()
    tuned = [row for row in rows if row["stage"] == "tune"]
    assert len(tuned) < 8
    assert all(row["status"] == "completed" for row in rows)
    assert sum(row["stage"] == "confirm" and row["entry"] == "cross_entropy" for row in rows) == 2
    assert "interrupted" in SweepStatus("s", records).state
    monkeypatch.setattr(LabelSmoothing, "train", train)
    before = files(records)
    resumed = engine.resume("s", storage, "none", QUIET, suite(trials=4, checkpoint_seconds=0))
    assert resumed.complete
    assert not resumed.untuned
    assert files(records).items() >= before.items()
    fresh = Storage(tmp_path / "fresh")
    engine.start(suite(trials=4), fresh, "none", QUIET)
    assert table(records) == table(Records(fresh.child("s")))


def test_the_best_round_is_chosen_on_validation_data_and_its_test_metrics_are_reported(tmp_path):
    long = {"settings": {"epochs": 8, "learning_rate": 0.3}, "trials": 3}
    storage, last = Storage(tmp_path / "best"), Storage(tmp_path / "last")
    assert engine.start(suite(select="best_round", **long), storage, "none", QUIET).complete
    assert engine.start(suite(**long), last, "none", QUIET).complete
    records = Records(storage.child("s"))
    curves: dict[str, dict[int, dict[str, float]]] = {}
    for point in records.curves().to_pylist():
        curves.setdefault(point["key"], {}).setdefault(point["round"], {})[point["metric"]] = point["value"]
    rows = records.trials().to_pylist()
    for row in rows:
        curve = curves[row["key"]]
        best = max(curve, key=lambda number: (curve[number]["val/accuracy"], -number))
        assert row["counted_round"] == best
        assert row["values"] == [curve[best]["val/accuracy"]]
        assert dict(row["metrics"]) == curve[best]
        assert ("test/accuracy" in dict(row["metrics"])) == (row["stage"] != "tune")
    assert any(row["counted_round"] < 8 for row in rows)
    assert {row["counted_round"] for row in Records(last.child("s")).trials().to_pylist()} == {8}
