"""MLflow compares a sweep's studies: a run for each, and pages of its UI that open on them, looked at in a browser."""

import base64
import json
import re
import zlib
from urllib.parse import parse_qs

import pandas as pd
import pytest
from mlflow import MlflowClient
from tracked_sweep import compared, dump, finished

from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.studies import read_tables, study_runs
from regbench.platform.tracking.ui import pages
from regbench.platform.tracking.views import TAG


@pytest.fixture
def uri(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def studies(uri: str) -> dict[str, dict]:
    return {run["name"]: run for run in dump(uri).values() if run["tags"]["stage"] == "study"}


def state(uri: str, page: str) -> dict:
    """What the UI shows on a page, from the tag of the experiment that it names."""
    experiment, _, query = page.removeprefix("/#/experiments/").partition("/runs?")
    tag = MlflowClient(uri).get_experiment(experiment).tags[TAG + parse_qs(query)["viewStateShareKey"][0]]
    text = json.loads(tag)["state"] if tag.startswith("{") else tag
    return {"experiment": experiment} | json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;"))))


def shown(uri: str, page: str) -> list[str]:
    """Names of the runs on a page, in their order."""
    view = state(uri, page)
    order = [f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"]
    return [
        run.info.run_name for run in MlflowClient(uri).search_runs([view["experiment"]], view["searchFilter"], order_by=order)
    ]


def test_a_studys_run_holds_what_the_comparison_says(tmp_path, uri):
    records = compared(tmp_path)
    Exporter(records, uri).sync(final=True)
    found = studies(uri)
    assert found.keys() == {"cross_entropy (baseline)", "label_smoothing ε = 0.1"}
    run = found["label_smoothing ε = 0.1"]
    assert run["params"] == {"smoothing": "0.1", "learning_rate": "0.1"}
    values = {name: points[-1][2] for name, points in run["metrics"].items()}
    # Accuracies 0.86, 0.876, 0.892 and 0.80, 0.81, 0.82.
    assert values["test/accuracy"] == pytest.approx(0.876)
    assert values["difference"] == pytest.approx(0.066)
    assert values["difference_low"] < 0.066 < values["difference_high"]
    assert values["test/accuracy_low"] < 0.876 < values["test/accuracy_high"]
    assert values["p"] < 0.05
    assert values["seeds"] == 3
    tags = run["tags"]
    assert (tags["verdict"], tags["baseline"], tags["data"], tags["method"]) == (
        "better",
        "cross_entropy",
        "digits",
        "label_smoothing",
    )
    assert "mlflow.parentRunId" not in tags
    assert run["status"] == "FINISHED"
    assert "difference" not in found["cross_entropy (baseline)"]["metrics"]


def test_a_comparison_that_has_changed_replaces_the_runs_that_it_changes_and_no_others(tmp_path, uri):
    records = compared(tmp_path)
    Exporter(records, uri).sync(final=True)
    before = studies(uri)
    assert str(Exporter(records, uri).sync(final=True)) == "MLflow is up to date"
    entries = read_tables(records.storage)["entries"]
    entries.loc[entries["entry"] == "label_smoothing", "difference_verdict"] = "equivalent"
    records.storage.write("report/entries.parquet", entries.to_parquet(index=False))
    assert Exporter(records, uri).sync(final=True).created == 1
    after = studies(uri)
    assert after["label_smoothing ε = 0.1"]["tags"]["verdict"] == "equivalent"
    assert after["label_smoothing ε = 0.1"]["id"] != before["label_smoothing ε = 0.1"]["id"]
    assert after["cross_entropy (baseline)"] == before["cross_entropy (baseline)"]


def test_thirty_entries_have_colours_of_their_own(tmp_path):
    tables = read_tables(compared(tmp_path).storage)
    entries = tables["entries"]
    more = [entries.iloc[[0]].assign(entry=f"another_{number}") for number in range(28)]
    tables["entries"] = pd.concat([entries, *more], ignore_index=True)
    colours = [study.tags["mlflow.runColor"] for study in study_runs(tables, "classification")["digits"]]
    assert len(set(colours)) == len(colours) == 30
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours)


def test_tables_of_an_earlier_version_are_not_read(tmp_path, uri):
    records = compared(tmp_path)
    entries = read_tables(records.storage)["entries"].drop(columns="difference_verdict")
    records.storage.write("report/entries.parquet", entries.to_parquet(index=False))
    assert read_tables(records.storage) is None
    Exporter(records, uri).sync(final=True)
    assert studies(uri) == {}


def test_pages_open_on_the_studies_of_one_table_and_on_the_trials_of_one_study(tmp_path, uri):
    records = compared(tmp_path, data=("digits", "digits_small"))
    Exporter(records, uri).sync(final=True)
    Exporter(compared(tmp_path / "other"), uri).sync(final=True)
    found = pages(records, uri, trials=True)
    tuned = [
        f"tuning of {entry} on {data}" for data in ("digits", "digits_small") for entry in ("cross_entropy", "label_smoothing")
    ]
    assert sorted(found) == sorted(["compare demo on digits", "compare demo on digits_small", *tuned])
    page = found["compare demo on digits_small"]
    assert shown(uri, page) == ["label_smoothing ε = 0.1 on digits_small", "cross_entropy (baseline) on digits_small"]
    metrics = {card.get("metricKey") for card in state(uri, page)["compareRunCharts"]}
    assert {"test/accuracy", "difference", "p", "seeds"} <= metrics
    trials = found["tuning of label_smoothing on digits"]
    assert shown(uri, trials) == [f"label_smoothing tune {number} on digits" for number in (1, 0, 2)]
    (card,) = state(uri, trials)["compareRunCharts"]
    assert (card["selectedParams"], card["selectedMetrics"]) == (["smoothing", "learning_rate"], ["best/val/accuracy"])


def test_until_it_is_compared_a_sweep_has_a_page_of_its_trials(tmp_path, uri):
    records = finished(tmp_path)
    assert pages(records, uri) == {}
    Exporter(records, uri).sync()
    ((title, page),) = pages(records, uri, trials=True).items()
    assert title == "trials of demo on digits"
    experiment, _, query = page.removeprefix("/#/experiments/").partition("/runs?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    found = MlflowClient(uri).search_runs([experiment], asked["searchFilter"], order_by=[asked["orderByKey"]])
    assert len(found) == 3


def test_the_first_page_shows_each_entrys_name_and_value(tmp_path, server, page):
    records = compared(tmp_path)
    Exporter(records, server).sync(final=True)
    found = pages(records, server, trials=True)
    page.goto(server + found["compare demo on digits"])
    charts = page.get_by_test_id("experiment-view-compare-runs-chart-area")
    bars = charts.locator(".trace.bars").first.locator("text")
    bars.first.wait_for()
    # Of the bars, the lowest first.
    assert bars.all_text_contents() == ["0.81", "0.88"]
    for name, mean in (("cross_entropy (baseline)", "0.810 ± 0.025"), ("label_smoothing ε = 0.1", "0.876 ± 0.040")):
        charts.get_by_text(name).first.wait_for()
        charts.get_by_text(mean).first.wait_for()
    charts.get_by_text("better", exact=True).wait_for()
    page.get_by_text("2 matching runs").wait_for()
    page.goto("about:blank")
    page.goto(server + found["tuning of label_smoothing on digits"])
    page.get_by_text("3 matching runs").wait_for()
    axes = charts.locator(".parcoords .axis .label")
    axes.last.wait_for()
    assert axes.all_text_contents() == ["smoothing", "learning_rate", "best/val/accuracy"]
