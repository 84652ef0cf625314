"""MLflow holds what the records hold: on SQLite and on a real server, while trials run, and after a second export."""

import json

import pytest
from tracked_sweep import TRIAL, dump, finished, sweep, train

from regbench.platform.records.records import Report
from regbench.platform.tracking.exporter import Exporter


@pytest.fixture(params=["sqlite", "server"])
def uri(request, tmp_path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db" if request.param == "sqlite" else request.getfixturevalue("server")


def test_runs_hold_what_the_records_hold(tmp_path, server):
    records = finished(tmp_path)
    Exporter(records, server).sync(final=True)
    found = dump(server)
    assert len(found) == 4
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in records.curves().to_pylist():
        curves.setdefault((row["key"], row["metric"]), []).append((row["round"], row["value"]))
    for row in records.trials().to_pylist():
        run = found[f"regbench/classification/{row['key']}"]
        for metric in ("val/accuracy", "train/loss"):
            assert [(step, value) for step, _, value in run["metrics"][metric]] == curves[row["key"], metric]
        assert run["params"] == {"entry": "ps_kd", "seed": str(row["seed"])} | {
            name: str(value) for name, value in json.loads(row["searched"]).items()
        }
        assert run["tags"]["mlflow.parentRunId"] == found["regbench/classification/classification"]["id"]
        assert run["tags"]["status"] == row["status"]
        assert run["inputs"] == ["digits"]
        assert run["times"][1] == round(row["ended"].timestamp() * 1000)
    best = found[f"regbench/classification/{TRIAL.key}"]["metrics"]["best/val/accuracy"]
    assert [(step, value) for step, _, value in best] == [(1, 0.5), (2, 0.9), (3, 0.9)]
    assert found[f"regbench/classification/{TRIAL.key}"]["artifacts"] == [f"{TRIAL.key}.pt"]
    failed = found["regbench/classification/ps_kd-digits-tune-0001"]
    assert failed["status"] == "FAILED"
    assert failed["tags"]["reason"] == "it diverged"
    assert failed["name"] == "ps_kd tune 1 on digits"
    confirmed = found["regbench/classification/ps_kd-digits-confirm-0000"]["metrics"]
    assert [(step, value) for step, _, value in confirmed["test/accuracy"]] == [(0, 0.75)]
    parent = found["regbench/classification/classification"]
    assert parent["name"] == "demo"
    assert parent["params"]["sampler"] == "tpe"
    assert parent["params"]["epochs"] == "3"
    assert parent["artifacts"] == ["report.html", "suite.json"]
    assert parent["status"] == "FINISHED"


def test_a_second_export_adds_nothing(tmp_path, uri):
    records = finished(tmp_path)
    Exporter(records, uri).sync(final=True)
    before = dump(uri)
    result = Exporter(records, uri).sync(final=True)
    assert (result.created, result.updated, result.points) == (0, 0, 0)
    assert str(result) == "MLflow is up to date"
    assert dump(uri) == before


def test_two_people_may_use_one_name_on_one_server(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for owner in ("first", "second"):
        result = Exporter(finished(tmp_path / owner), uri).sync(final=True)
        assert result.created == 4


def test_a_running_trial_is_exported_as_it_goes(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = sweep(tmp_path)
    exporter = Exporter(records, uri)
    train(records, TRIAL, rounds=1)
    exporter.sync()
    run = dump(uri)[f"regbench/classification/{TRIAL.key}"]
    assert run["status"] == "RUNNING"
    assert [point[0] for point in run["metrics"]["val/accuracy"]] == [1]
    train(records, TRIAL, rounds=3)
    records.finish(TRIAL, "completed")
    assert exporter.sync().points == 2 * 3
    run = dump(uri)[f"regbench/classification/{TRIAL.key}"]
    assert run["status"] == "FINISHED"
    assert [point[0] for point in run["metrics"]["val/accuracy"]] == [1, 2, 3]


def test_values_that_pbt_changes_are_metrics_and_never_break_parameters(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = sweep(tmp_path, scheduler="pbt")
    train(records, TRIAL, searched=[{"final_alpha": 0.8}, {"final_alpha": 0.64}, {"final_alpha": 0.64}])
    records.finish(TRIAL, "completed")
    Exporter(records, uri).sync(final=True)
    run = dump(uri)[f"regbench/classification/{TRIAL.key}"]
    assert run["params"]["final_alpha"] == "0.8"
    assert [(step, value) for step, _, value in run["metrics"]["param/final_alpha"]] == [(1, 0.8), (2, 0.64), (3, 0.64)]


def test_a_failed_trial_that_is_trained_again_has_its_new_run(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = sweep(tmp_path)
    train(records, TRIAL, rounds=2)
    records.finish(TRIAL, "failed", "it diverged")
    Exporter(records, uri).sync()
    assert Exporter(records, uri).sync().created == 0
    records.take_back(TRIAL.key)
    attempt = records.start_attempt(TRIAL.key, host="here", device="cpu")
    for number in (1, 2, 3):
        attempt.report(Report(number, 1.8e9 + number, number, {"val/accuracy": 0.8}))
    records.finish(TRIAL, "completed")
    Exporter(records, uri).sync()
    run = dump(uri)[f"regbench/classification/{TRIAL.key}"]
    assert run["status"] == "FINISHED"
    assert "reason" not in run["tags"]
    assert [(step, value) for step, _, value in run["metrics"]["val/accuracy"]] == [(1, 0.8), (2, 0.8), (3, 0.8)]
