"""The pages of MLflow's UI that a sweep points to."""

from urllib.parse import parse_qs

from mlflow import MlflowClient
from tracked_sweep import finished

from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.ui import pages


def test_the_comparison_page_filters_the_confirmed_runs_of_this_sweep(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    records = finished(tmp_path)
    assert pages(records, uri) == {}
    Exporter(records, uri).sync(final=True)
    Exporter(finished(tmp_path / "other"), uri).sync(final=True)
    (page,) = pages(records, uri).values()
    experiment, _, query = page.removeprefix("/#/experiments/").partition("/runs?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    found = MlflowClient(uri).search_runs([experiment], asked["searchFilter"], order_by=[asked["orderByKey"]])
    assert [run.info.run_name for run in found] == ["ps_kd confirm 0 on digits"]
