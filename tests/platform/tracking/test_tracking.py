"""MLflow holds what the records hold: on SQLite and on a real server, while trials run, twice, and after an outage."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from mlflow import MlflowClient

from regbench.methods.errors import TrackingError
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.tracking.exporter import Exporter, LiveExporter, check, default_uri, ui_command

TRIAL = Trial(
    sweep="demo",
    key="ps_kd-digits-tune-0000",
    stage="tune",
    track="classification",
    entry="ps_kd",
    method="ps_kd",
    arxiv="2006.12000",
    data="digits",
    number=0,
    seed=0,
    objectives=("val/accuracy",),
    modes=("max",),
    planned_rounds=3,
    settings={"final_alpha": 0.8, "epochs": 3},
    searched={"final_alpha": 0.8},
)
ACCURACIES = [0.5, 0.9, 0.7]


def sweep(folder: Path, scheduler: str = "none") -> Records:
    records = Records(Storage(folder).child("demo"))
    suite = {
        "trials": 3,
        "sampler": {"name": "tpe"},
        "scheduler": {"name": scheduler},
        "confirm": {"seeds": 1},
        "seed": 0,
        "execution": "tune",
        "methods": {"ps_kd": {}},
        "settings": {"epochs": 3},
    }
    provenance = {"regbench": "0.1.0", "git": "abc", "host": "here", "started": "2026-01-01T00:00:00+00:00"}
    records.storage.write("suite.json", json.dumps({"id": uuid.uuid4().hex, "suite": suite, "provenance": provenance}).encode())
    return records


def train(records: Records, trial: Trial, rounds: int = 3, searched: list[dict] | None = None) -> None:
    records.plan(trial)
    done = len(records.log(trial.key).reports)
    attempt = records.start_attempt(trial.key, host="here", device="cpu")
    for index in range(done, rounds):
        values = searched[index] if searched else trial.searched
        metrics = {"val/accuracy": ACCURACIES[index], "train/loss": 1.0 / (index + 1)}
        if trial.stage == "confirm" and index == 2:
            metrics["test/accuracy"] = 0.75
        attempt.report(Report(index + 1, 1.7e9 + index, index + 1.0, metrics, values))


def finished(folder: Path) -> Records:
    """Two tuning trials, one of them failed, and a confirmed one."""
    records = sweep(folder)
    train(records, TRIAL)
    records.finish(TRIAL, "completed")
    records.storage.write(f"checkpoints/{TRIAL.key}.pt", b"weights")
    broken = replace(TRIAL, key="ps_kd-digits-tune-0001", number=1, searched={"final_alpha": 0.3})
    train(records, broken, rounds=1)
    records.finish(broken, "failed", "it diverged")
    confirmed = replace(TRIAL, key="ps_kd-digits-confirm-0000", stage="confirm", seed=1000)
    train(records, confirmed)
    records.finish(confirmed, "completed")
    records.storage.write("report/report.html", b"<p>report</p>")
    return records


def dump(uri: str) -> dict[str, object]:
    """Everything in MLflow, by track and trial; the sweep's own run goes by its track."""
    client = MlflowClient(uri)
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            histories = {
                name: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            }
            name = run.data.tags["regbench.key"].partition("/")[2]
            found[f"{experiment.name}/{name}"] = {
                "id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "times": (run.info.start_time, run.info.end_time),
                "params": run.data.params,
                "tags": run.data.tags,
                "metrics": histories,
                "inputs": [item.dataset.name for item in run.inputs.dataset_inputs],
                "artifacts": sorted(item.path for item in client.list_artifacts(run.info.run_id)),
            }
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real MLflow server on a free port of the loopback interface."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = ui_command(f"sqlite:///{folder}/mlflow.db", "127.0.0.1", port)
    process = subprocess.Popen(command, env=os.environ | environment, start_new_session=True, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            break
        except OSError:
            assert process.poll() is None, "the MLflow server ended"
            time.sleep(0.25)
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


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
    assert [(step, value) for step, _, value in parent["metrics"]["confirm/ps_kd/digits/test/accuracy"]] == [(0, 0.75)]
    assert parent["name"] == "demo"
    assert parent["params"]["sampler"] == "tpe"
    assert parent["params"]["epochs"] == "3"
    assert parent["artifacts"] == ["report.html", "suite.json"]
    assert parent["status"] == "FINISHED"


def test_the_comparison_page_filters_the_confirmed_runs_of_this_sweep(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = finished(tmp_path)
    assert Exporter(records, uri).pages() == {}
    Exporter(records, uri).sync(final=True)
    Exporter(finished(tmp_path / "other"), uri).sync(final=True)
    (page,) = Exporter(records, uri).pages().values()
    experiment, _, query = page.removeprefix("/#/experiments/").partition("/runs?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    found = MlflowClient(uri).search_runs([experiment], asked["searchFilter"], order_by=[asked["orderByKey"]])
    assert [run.info.run_name for run in found] == ["ps_kd confirm 0 on digits"]


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


def test_an_outage_loses_nothing(tmp_path):
    """The server is dead during the sweep; a later export brings MLflow to where it would have been."""
    records = finished(tmp_path / "results")
    live = LiveExporter(Exporter(records, "http://127.0.0.1:9"), period_s=0.01)
    live.start()
    live.stop()
    assert live.problem is not None
    assert "regbench sync demo" in live.problem
    assert "\n" not in live.problem
    late, undisturbed = (f"sqlite:///{tmp_path}/{name}.db" for name in ("late", "undisturbed"))
    Exporter(records, late).sync(final=True)
    Exporter(records, undisturbed).sync(final=True)

    def comparable(uri: str) -> dict[str, object]:
        runs = dump(uri)
        return {name: (run["status"], run["params"], run["metrics"], run["artifacts"]) for name, run in runs.items()}

    assert comparable(late) == comparable(undisturbed)


@pytest.mark.parametrize(
    ("uri", "says"),
    [("./mlruns", "use sqlite"), ("file:/somewhere", "use sqlite"), ("http://user:secret@127.0.0.1:9", "start the server")],
)
def test_unusable_tracking_is_refused_in_one_line_without_secrets(uri, says):
    with pytest.raises(TrackingError, match=says) as caught:
        check(uri)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_remote_results_need_a_server():
    with pytest.raises(TrackingError, match="--tracking"):
        default_uri(Storage("s3://bucket/results?region=eu-west-1"))
