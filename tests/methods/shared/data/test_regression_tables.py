"""Regression tables: what is standardized, and readers on small files in the public formats."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_diabetes

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.california_housing import california_housing
from regbench.methods.shared.data.uci_regression import uci_data

RANDOM = np.random.default_rng(0)
SHARED = Path(os.environ.get("REGBENCH_DATA", "")) / "uci_regression"


def rows(data):
    return [
        torch.cat(parts) for parts in zip(*(split.tensors for split in (data.train, data.validation, data.test)), strict=True)
    ]


def test_diabetes_is_sklearns_standardized_by_its_training_rows():
    data, (x, y) = load("diabetes"), load_diabetes(return_X_y=True)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [240, 60, 142]
    for values in data.train.tensors:
        torch.testing.assert_close(values.mean(0), torch.zeros_like(values[0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(values.std(0, correction=0), torch.ones_like(values[0]))
    found = rows(data)
    np.testing.assert_allclose(np.ptp(found[1]) * data.meta["scale"], np.ptp(y), rtol=1e-5)
    np.testing.assert_allclose(np.corrcoef(np.sort(found[0][:, 2]), np.sort(x[:, 2]))[0, 1], 1)


def write_bikes(folder, **changes):
    n = 50
    columns = {"instant": np.arange(n), "dteday": ["2011-01-01"] * n, "temp": RANDOM.normal(size=n)}
    columns |= {"word": ["NE", "SE"] * (n // 2), "casual": np.ones(n), "registered": np.ones(n), "cnt": np.arange(n)}
    (folder / "uci_regression").mkdir()
    pq.write_table(pa.table(columns | changes), folder / "uci_regression" / "bike_hour.parquet")


def test_a_table_leaves_out_what_is_no_input(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    target = np.arange(50, dtype=float)
    target[:10] = np.nan
    write_bikes(tmp_path, cnt=target)
    data = uci_data("bike_hour")
    assert data.meta["shape"] == (3,)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [26, 6, 8]
    assert rows(data)[1].isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"), [({"temp": np.full(50, np.nan)}, "damaged"), ({"cnt": ["x"] * 50}, "not the table")]
)
def test_a_damaged_table_is_refused(tmp_path, monkeypatch, changes, message):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write_bikes(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        uci_data("bike_hour")


def write_houses(folder, table):
    (folder / "california_housing").mkdir()
    np.savetxt(folder / "california_housing" / "cal_housing.data", table, delimiter=",")


def test_california_housing(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    table = RANDOM.uniform(1, 9, size=(60, 9))
    table[:, 8] = np.linspace(15_000, 500_001, 60)
    write_houses(tmp_path, table)
    data = california_housing()
    assert data.meta["shape"] == (8,)
    _, y = rows(data)
    assert len(y) == 59
    logs = np.log(table[:59, 8])
    np.testing.assert_allclose(np.ptp(y) * data.meta["scale"], np.ptp(logs), rtol=1e-5)
    again = california_housing(split=1)
    assert again.pool == data.pool == 59
    assert again.meta["scale"] != data.meta["scale"]


def test_california_housing_refuses_another_table(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write_houses(tmp_path, np.ones((5, 4)))
    with pytest.raises(DataError, match="9 columns"):
        california_housing()


@pytest.mark.skipif(not SHARED.is_dir(), reason="REGBENCH_DATA has no uci_regression")
@pytest.mark.parametrize(
    ("name", "target", "features"),
    [
        ("bike_hour", "cnt", 12),
        ("beijing_pm25", "pm2.5", 14),
        ("appliances_energy", "Appliances", 25),
        ("concrete", "compressive_strength_mpa", 8),
        ("energy", "heating_load", 8),
        ("yacht", "residuary_resistance", 6),
        ("kin8nm", "y", 8),
        ("power_plant", "energy_output_mw", 4),
        ("wine_quality_red", "quality", 11),
    ],
)
def test_the_real_tables(name, target, features):
    """All rows whose target is known, the target on the training rows' scale, and no input that gives it away."""
    known = pd.read_parquet(SHARED / f"{name}.parquet", columns=[target])[target].dropna()
    data = load(name)
    x, y = (values.double().numpy() for values in rows(data))
    assert x.shape == (len(known), features)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(y.std() * data.meta["scale"], known.std(ddof=0), rtol=1e-5)
    assert np.abs(np.corrcoef(x.T, y)[-1, :-1]).max() < 0.999
