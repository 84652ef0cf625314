"""What MLflow is told fits into it, whatever metrics and folders are called, and goes along when a storage is moved."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name
from tracked_sweep import TRIAL, dump, finished, sweep

from regbench.platform.records.records import Records, Report
from regbench.platform.records.storage import Storage
from regbench.platform.tracking.connection import check, default_uri, sqlite_file, sqlite_uri
from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.names import mlflow_name

NAMES = [
    *("val/accuracy", "val/acc@5 (%)", "val/acc@5 [%]", "val/acc_5 ___", "α_T", "val/F₁", "val/é", "val/𝓛", "a\nb", "a\\b"),
    *("val//x", "/val/x", "val/x/", "./val", "../val", "..", "", "/", ".hidden", "a`b", "a'b", "tab\t", " ", "\ud800"),
    *("x" * 251, "x" * 400, "y/" * 200),
]


def test_every_name_becomes_one_that_mlflow_takes_and_no_other_does():
    made = [mlflow_name(name) for name in NAMES]
    for name in made:
        _validate_metric_name(name)
        assert len(name) <= 250
    assert len(set(made)) == len(NAMES)
    for kept in ("val/accuracy", "val/acc_5 ___", "α_T", "ps_kd/digits/test/accuracy", "best/val/x: y"):
        assert mlflow_name(kept) == kept


def test_metrics_with_names_that_mlflow_refuses_are_exported_apart(tmp_path):
    records = sweep(tmp_path)
    odd, alike = "val/acc@5 (%)", "val/acc@5 [%]"
    for number, stage in enumerate(("tune", "confirm")):
        key = f"ps_kd-digits-{stage}-0000"
        trial = replace(TRIAL, key=key, stage=stage, seed=number, objectives=(odd,), planned_rounds=1)
        records.plan(trial)
        metrics = {odd: 0.25, alike: 0.5, "test/acc@5 (%)": 0.75}
        records.start_attempt(key).report(Report(1, 1.7e9, 1.0, metrics))
        records.finish(trial, "completed")
    uri = default_uri(Storage(tmp_path))
    Exporter(records, uri).sync(final=True)
    found = dump(uri)
    run = found["regbench/classification/ps_kd-digits-tune-0000"]["metrics"]
    values = {name: points[-1][2] for name, points in run.items()}
    assert values == {mlflow_name(name): value for name, value in ((f"best/{odd}", 0.25), (odd, 0.25), (alike, 0.5),
                                                                   ("test/acc@5 (%)", 0.75))}  # fmt: skip
    assert str(Exporter(records, uri).sync(final=True)) == "MLflow is up to date"


def artifacts(uri: str) -> list[Path]:
    """The files of all artifacts, where MLflow looks for them."""
    client = MlflowClient(uri)
    found = []
    for experiment in client.search_experiments(filter_string="name LIKE 'regbench/%'"):
        for run in client.search_runs([experiment.experiment_id]):
            folder = Path(unquote(urlsplit(run.info.artifact_uri).path))
            found += [folder / item.path for item in client.list_artifacts(run.info.run_id)]
    return sorted(found)


def test_a_storage_that_was_moved_is_not_exported_twice_and_keeps_its_artifacts(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second place"
    records = finished(first)
    Exporter(records, default_uri(Storage(first))).sync(final=True)
    before = dump(default_uri(Storage(first)))
    first.rename(second)
    (second / "demo").rename(second / "renamed")
    moved, uri = Records(Storage(second).child("renamed")), default_uri(Storage(second))
    assert str(Exporter(moved, uri).sync(final=True)) == "MLflow is up to date"
    assert dump(uri) == before
    found = artifacts(uri)
    assert len(found) == 3
    assert all(path.is_file() and path.is_relative_to(second) for path in found)
    # What is added goes there, too.
    trial = replace(TRIAL, key="ps_kd-digits-tune-0002", number=2)
    moved.plan(trial)
    moved.start_attempt(trial.key).report(Report(1, 1.8e9, 1.0, {"val/accuracy": 0.5}))
    moved.finish(trial, "completed")
    moved.storage.write(f"checkpoints/{trial.key}.pt", b"weights")
    Exporter(moved, uri).sync(final=True)
    assert not first.exists()
    assert len(artifacts(uri)) == 4
    assert all(path.is_file() and path.is_relative_to(second) for path in artifacts(uri))


def test_a_storage_that_was_copied_has_artifacts_of_its_own_and_a_database_that_was_moved_alone_has_not(tmp_path):
    first, copy, alone = (tmp_path / name for name in ("first", "copy", "alone"))
    Exporter(finished(first), default_uri(Storage(first))).sync(final=True)
    shutil.copytree(first, copy)
    alone.mkdir()
    shutil.copy(first / "mlflow.db", alone)
    for place, where in ((copy, copy), (alone, first), (first, first)):
        uri = default_uri(Storage(place))
        assert str(Exporter(Records(Storage(place if place != alone else first).child("demo")), uri).sync(final=True)) == (
            "MLflow is up to date"
        )
        assert all(path.is_relative_to(where) and path.is_file() for path in artifacts(uri))


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "100%", "[v2] r", "a b;c&d=e", "ünï"])
def test_addresses_of_files_lead_to_the_files(tmp_path, name):
    file = tmp_path / name / "mlflow.db"
    assert sqlite_file(sqlite_uri(file)) == file
    check(sqlite_uri(file))


def test_a_folder_may_have_any_name(tmp_path):
    storage = Storage(tmp_path / "a?b #c%20d [v2] ü$x")
    records, uri = finished(storage.local), default_uri(storage)
    assert records.storage.name == "demo"
    Exporter(records, uri).sync(final=True)
    assert (storage.local / "mlflow.db").is_file()
    assert [path.is_relative_to(storage.local) and path.is_file() for path in artifacts(uri)] == [True] * 3
    keys = itertools.chain(records.ended(), ["classification"])
    assert dump(uri).keys() == {f"regbench/classification/{key}" for key in keys}
