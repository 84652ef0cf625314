"""Tables with protected attributes: the generator's hidden dependence, and readers on small files in the public formats."""

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.compas import compas, read_columns
from regbench.methods.shared.data.fremtpl2 import fremtpl2
from regbench.methods.shared.data.protected import intersections, one_hot

RANDOM = np.random.default_rng(0)
SHARED = Path(os.environ.get("REGBENCH_DATA", ""))


def joined(*splits):
    return [torch.cat(parts) for parts in zip(*(split.tensors for split in splits), strict=True)]


def test_neither_attribute_tells_of_the_target_but_both_do():
    data = load("gerrymandering")
    x, s, y, exposure, groups = joined(data.train, data.test)
    a, b = s[:, 0, 0], s[:, 1, 0]
    assert set(a.tolist()) == {0, 1}
    assert (b >= 0).all()
    assert (b <= 1).all()
    assert (exposure == 1).all()
    for hidden in (x[:, 4], y):
        for attribute in (a, b):
            assert abs(np.corrcoef(hidden, attribute)[0, 1]) < 0.06
        means = torch.stack([hidden[groups == group].mean() for group in range(4)])
        assert means.sort()[0].diff()[1] > 0.9


def test_intersections_and_one_hot():
    groups = intersections(np.array(["b", "a", "b", "a"]), np.array([1, 1, 1, 0]))
    assert groups.tolist() == [2, 1, 2, 0]
    assert one_hot(np.array(["b", "a", "c"])).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


COLUMNS = (
    *("sex", "age", "age_cat", "race", "juv_fel_count", "decile_score", "juv_misd_count", "juv_other_count", "priors_count"),
    *("days_b_screening_arrest", "c_charge_degree", "is_recid", "decile_score", "score_text", "priors_count", "two_year_recid"),
)


def write_compas(folder, n=60, **changes):
    (folder / "compas").mkdir()
    with (folder / "compas" / "compas-scores-two-years.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(changes.get("columns", COLUMNS))
        for row in range(n):
            sex, race = ("Male", "Female")[row % 2], ("African-American", "Caucasian", "Asian")[row % 3]
            days, degree = (31 if row < 5 else -1), ("O" if 5 <= row < 8 else "FM"[row % 2])
            table.writerow([sex, 20 + row, "25 - 45", race, 0, 3, 1, 2, row, days, degree, 1, 9, "Low", 99, row % 4 // 2])
        table.writerow(["Male", 30, "25 - 45", "Asian", 0, 3, 1, 2, 4, "", "F", 1, 9, "Low", 99, 0])


def test_compas(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write_compas(tmp_path)
    data = compas()
    assert data.meta == {"target": "binary", "shape": (5,), "widths": (3, 1, 1)}
    x, s, y, _, groups = joined(data.train, data.validation, data.test)
    assert len(y) == 52
    assert (s[:, 0].sum(1) == 1).all()
    assert (s[:, 1:, 1:] == 0).all()
    assert set(s[:, 1, 0].tolist()) == {0, 1}
    assert len(groups.unique()) == 6
    # The first of two columns of that name: it grows with age.
    assert np.corrcoef(x[:, 0], s[:, 2, 0])[0, 1] == pytest.approx(1)
    assert x[: len(data.train)].mean(0).abs().max() < 1e-6
    assert read_columns(tmp_path / "compas" / "compas-scores-two-years.csv")[3]["priors_count"] == "3"


def test_compas_refuses_another_table(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write_compas(tmp_path, columns=["other", *COLUMNS[1:]])
    with pytest.raises(DataError, match="not ProPublica's table"):
        compas()


def policies(n=40, **changes):
    columns = {
        "ClaimNb": np.arange(n) % 7,
        "Exposure": np.linspace(0.1, 1.6, n),
        "VehPower": RANDOM.integers(4, 9, n),
        "VehAge": RANDOM.integers(0, 9, n),
        "DrivAge": np.arange(n) + 18,
        "BonusMalus": RANDOM.integers(50, 90, n),
        "Density": RANDOM.integers(1, 900, n),
        "Area": pa.array(["A", "B"] * (n // 2)).dictionary_encode(),
        "VehBrand": pa.array(["B1", "B2"] * (n // 2)).dictionary_encode(),
        "VehGas": pa.array(["Regular", "Diesel"] * (n // 2)).dictionary_encode(),
        "Region": pa.array(["R11", "R24", "R82", "R11"] * (n // 4)).dictionary_encode(),
    }
    return columns | changes


def write_policies(folder, columns):
    (folder / "fremtpl2").mkdir()
    pq.write_table(pa.table(columns), folder / "fremtpl2" / "freMTPL2freq.parquet")


def test_fremtpl2(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write_policies(tmp_path, policies())
    data = fremtpl2()
    assert data.meta == {"target": "count", "shape": (8,), "widths": (3, 1)}
    assert [len(split) for split in (data.train, data.validation, data.test)] == [24, 8, 8]
    _, s, y, exposure, groups = joined(data.train, data.validation, data.test)
    assert y.max() == 4
    assert exposure.max() == 1
    assert exposure.min().item() == pytest.approx(0.1)
    assert s[:, 0].sum(1).unique().tolist() == [1]
    assert len(groups.unique()) == 6


@pytest.mark.parametrize(
    ("changes", "message"), [({"Exposure": np.zeros(40)}, "damaged"), ({"Density": ["x"] * 40}, "not the table")]
)
def test_fremtpl2_refuses_damage(tmp_path, monkeypatch, changes, message):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write_policies(tmp_path, policies(**changes))
    with pytest.raises(DataError, match=message):
        fremtpl2()


@pytest.mark.skipif(not (SHARED / "compas").is_dir(), reason="REGBENCH_DATA has no compas")
def test_the_real_compas_filtered_as_propublica_did():
    """6,172 defendants are left, as in their analysis; the rate of recidivism in each race is that of the file."""
    table = pd.read_csv(SHARED / "compas" / "compas-scores-two-years.csv")
    screened = table["days_b_screening_arrest"].between(-30, 30)
    kept = table[screened & (table["is_recid"] != -1) & (table["c_charge_degree"] != "O")]
    data = load("compas")
    _, s, y, _, groups = (part.double().numpy() for part in joined(data.train, data.validation, data.test))
    assert len(y) == len(kept) == 6172
    rates = kept.groupby("race")["two_year_recid"].mean()
    found = [y[s[:, 0, k] == 1].mean() for k in range(len(rates))]
    np.testing.assert_allclose(found, rates, rtol=1e-6)
    np.testing.assert_allclose(s[:, 1, 0].mean(), (kept["sex"] == "Male").mean())
    age = data.train.tensors[1][:, 2, 0]
    assert (age.min(), age.max()) == (0, 1)
    assert np.corrcoef(np.sort(s[:, 2, 0]), np.sort(kept["age"]))[0, 1] == pytest.approx(1)
    assert len(np.unique(groups)) == 4 * 2 * 3


@pytest.mark.skipif(not (SHARED / "fremtpl2").is_dir(), reason="REGBENCH_DATA has no fremtpl2")
def test_the_real_fremtpl2():
    """A sample of the table: frequency, exposure and shares of the regions are the table's within sampling error."""
    table = pd.read_parquet(SHARED / "fremtpl2" / "freMTPL2freq.parquet")
    data = load("fremtpl2")
    _, s, y, exposure, groups = (part.double().numpy() for part in joined(data.train, data.validation, data.test))
    assert len(y) == 100_000
    assert s.shape[1:] == (2, table["Region"].nunique())
    for found, known in ((y, table["ClaimNb"].clip(upper=4)), (exposure, table["Exposure"].clip(upper=1))):
        assert abs(found.mean() - known.mean()) < 5 * known.std() / len(y) ** 0.5
    shares = table["Region"].value_counts(normalize=True, sort=False).sort_index()
    np.testing.assert_allclose(s[:, 0].mean(0), shares, atol=5 * 0.5 / len(y) ** 0.5)
    assert len(np.unique(groups)) == 3 * table["Region"].nunique()
