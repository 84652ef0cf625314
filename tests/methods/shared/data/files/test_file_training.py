"""Each track trains on data from files as on its own."""

import numpy as np
import pandas as pd
import pytest
from making import digit_folder, mixed, spec_of, wine
from sklearn.datasets import load_diabetes

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load
from regbench.methods.shared.data.files.define import define_files, keep_files
from regbench.methods.shared.data.files.reading import read


def last(slug: str, data, **settings) -> dict[str, float]:
    *_, metrics = create(slug, settings).train(Run(data, test=True))
    assert all(np.isfinite(value) for value in metrics.values())
    return metrics


@pytest.mark.parametrize("slug", ["cross_entropy", "ps_kd", "weight_compander"])
def test_classification_of_a_table(tmp_path, slug):
    wine().to_csv(tmp_path / "wine.csv", index=False)
    data = read("wine", spec_of(tmp_path, csv="wine.csv", target="kind"))
    assert last(slug, data, epochs=10, batch_size=32)["test/accuracy"] > 0.9


def test_classification_of_images(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 500))
    data = read("digits", spec_of(tmp_path, images="digits"))
    assert last("label_smoothing", data, architecture="cnn", epochs=8, batch_size=32)["test/accuracy"] > 0.8


def test_regression(tmp_path):
    load_diabetes(as_frame=True).frame.to_csv(tmp_path / "diabetes.csv", index=False)
    data = read("diabetes", spec_of(tmp_path, csv="diabetes.csv", target="target"))
    assert last("cs_ib", data, epochs=20)["test/rmse"] < 0.9


@pytest.mark.parametrize("target", ["kind", "price"])
def test_fairness(tmp_path, target):
    table = pd.concat([mixed(), mixed()]).assign(sex=["f", "m", "m", "f"] * 60)
    table.to_csv(tmp_path / "mixed.csv", index=False)
    data = read("fair", spec_of(tmp_path, csv="mixed.csv", target=target, protected=["sex"], group="patient"))
    assert "test/jsd" in last("distance_covariance_fairness", data, epochs=2, batch_size=48)


def test_files_are_read_once_for_all_trials_of_a_process_and_anew_where_they_are_named_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("regbench.methods.shared.data._defined", {})
    wine().to_csv(tmp_path / "wine.csv", index=False)
    spec = spec_of(tmp_path, csv="wine.csv", target="kind")
    define_files("kept_wine", spec)
    first = load("kept_wine")
    keep_files("kept_wine", spec_of(tmp_path, csv="wine.csv", target="kind"))
    assert load("kept_wine") is first
    keep_files("kept_wine", spec_of(tmp_path, csv="wine.csv", target="kind", drop=["hue"]))
    assert load("kept_wine").meta["shape"] == (12,)
    define_files("kept_wine", spec)
    assert load("kept_wine") is not first
