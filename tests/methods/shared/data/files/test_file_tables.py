"""Tables from CSV, Parquet and npz files are what scikit-learn and pandas make of the same rows."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from making import SPLITS, mixed, spec_of, wine
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data.files.reading import read, require_track


def write(table: pd.DataFrame, path) -> None:
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_is_standardized_by_its_training_rows_and_split_by_class(tmp_path, form):
    table = wine()
    write(table, tmp_path / f"wine.{form}")
    data = read("wine", spec_of(tmp_path, **{form: f"wine.{form}", "target": "kind"}))
    rest, test = train_test_split(np.arange(178), test_size=36, stratify=table["kind"], random_state=0)
    train, validation = train_test_split(rest, test_size=36, stratify=table["kind"][rest], random_state=0)
    x = StandardScaler().fit(table.drop(columns="kind").to_numpy()[train]).transform(table.drop(columns="kind").to_numpy())
    for split, rows in zip(SPLITS, (train, validation, test), strict=True):
        found, labels = getattr(data, split).tensors
        np.testing.assert_allclose(found.numpy(), x[rows], rtol=1e-4, atol=1e-5)
        assert found.dtype == torch.float32
        assert labels.tolist() == table["kind"][rows].tolist()
    assert data.pool == 178
    assert data.meta["classes"] == 3
    assert data.meta["class_names"] == ("0", "1", "2")
    assert data.meta["shape"] == (13,)
    assert data.meta["columns"] == tuple(table.columns.drop("kind"))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_missing_values_and_categories_are_as_transformers_make_them_of_the_training_rows(tmp_path, form):
    table = mixed()
    write(table, tmp_path / f"mixed.{form}")
    spec = spec_of(tmp_path, **{form: f"mixed.{form}", "target": "kind", "drop": ["price", "patient"]})
    data = read("mixed", spec)
    rest, test = train_test_split(np.arange(120), test_size=24, stratify=table["kind"], random_state=0)
    train, _ = train_test_split(rest, test_size=24, stratify=table["kind"][rest], random_state=0)
    numeric = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    oracle = make_column_transformer((numeric, ["age"]), (OneHotEncoder(), ["colour", "member"]), sparse_threshold=0)
    text = table.assign(
        colour=table["colour"].astype(object).where(table["colour"].notna(), "none"), member=table["member"].astype(str)
    )
    expected = oracle.fit(text.iloc[train]).transform(text)
    names = (
        "age",
        "missing: age",
        "colour=blue",
        "colour=green",
        "colour=red",
        "colour=missing",
        "member=False",
        "member=True",
    )
    assert data.meta["columns"] == names
    # As text, "none" sorts between "green" and "red"; a missing value comes last.
    order = [0, 1, 2, 3, 5, 4, 6, 7]
    np.testing.assert_allclose(data.test.tensors[0].numpy(), expected[test][:, order], rtol=1e-5, atol=1e-6)
    assert data.meta["class_names"] == ("no", "yes")


def test_nothing_is_learned_from_rows_that_are_held_out(tmp_path):
    table = mixed().assign(split=["train"] * 60 + ["val"] * 30 + ["test"] * 30)
    changed = table.copy()
    changed.loc[60:, "age"] = 1e6
    changed.loc[60:, "colour"] = "violet"
    for name, frame in (("a", table), ("b", changed)):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    first, second = (
        read(name, spec_of(tmp_path, csv=f"{name}.csv", target="price", split_column="split", drop=["kind"])) for name in "ab"
    )
    assert torch.equal(first.train.tensors[0], second.train.tensors[0])
    assert first.meta == {**second.meta, "told": first.meta["told"]}
    place = second.meta["columns"].index("colour=blue")
    assert not second.test.tensors[0][:, place : place + 4].any(), "a category that training has not seen"


def test_real_targets_are_standardized_and_as_predictable_as_before(tmp_path):
    frame = load_diabetes(as_frame=True).frame
    frame.to_csv(tmp_path / "diabetes.csv", index=False)
    data = read("diabetes", spec_of(tmp_path, csv="diabetes.csv", target="target"))
    x, y = (tensor.double().numpy() for tensor in data.train.tensors)
    assert y.mean() == pytest.approx(0, abs=1e-6)
    assert y.std() == pytest.approx(1, abs=1e-6)
    places = train_test_split(train_test_split(np.arange(442), test_size=88, random_state=0)[0], test_size=88, random_state=0)[
        0
    ]
    raw = frame.drop(columns="target").to_numpy()[places], frame["target"].to_numpy()[places]
    assert LinearRegression().fit(x, y).score(x, y) == pytest.approx(LinearRegression().fit(*raw).score(*raw), abs=1e-5)
    np.testing.assert_allclose(y * data.meta["scale"] + data.meta["center"], raw[1], rtol=1e-4)


KINDS = {
    "semicolons": "a;b;y\n1,5;u;0\n2,5;v;1\n",
    "tabs": "a\tb\ty\n1.5\tu\t0\n2.5\tv\t1\n",
    "spaces": "\ufeffa, b, y\n 1.5, u, 0\n 2.5, v, 1\n",
    "quotes": '"a","b","y"\r\n"1.5","u","0"\r\n"2.5","v","1"\r\n',
}


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_csv_files_of_many_kinds_hold_the_same(tmp_path, text):
    header, end, rows = text.partition("\n")
    (tmp_path / "a.csv").write_text(header + end + 10 * rows, newline="", encoding="utf-8")
    pd.DataFrame({"a": 10 * [1.5, 2.5], "b": 10 * ["u", "v"], "y": 10 * [0, 1]}).to_parquet(tmp_path / "a.parquet")
    found, expected = (read("a", spec_of(tmp_path, **{form: f"a.{form}"}, target="y")) for form in ("csv", "parquet"))
    assert found.meta["columns"] == expected.meta["columns"]
    for split in SPLITS:
        for one, other in zip(getattr(found, split).tensors, getattr(expected, split).tensors, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("mark", ["?", "NA", "", "nan", " ?"])
def test_what_stands_for_a_missing_value(tmp_path, mark):
    rows = f"1.5,u,0\n2.5,{mark},1\n{mark},v,0\n3.5,v,1\n"
    (tmp_path / "a.csv").write_text("a,b,y\n" + 10 * rows)
    columns = read("a", spec_of(tmp_path, csv="a.csv", target="y")).meta["columns"]
    assert columns == ("a", "missing: a", "b=u", "b=v", "b=missing")


def test_a_compressed_file_is_the_same(tmp_path):
    for name in ("a.csv", "a.csv.gz", "a.csv.bz2"):
        wine().to_csv(tmp_path / name, index=False)
    plain, *others = (read("a", spec_of(tmp_path, csv=name, target="kind")) for name in ("a.csv", "a.csv.gz", "a.csv.bz2"))
    assert all(torch.equal(plain.train.tensors[0], other.train.tensors[0]) for other in others)


def test_the_description_is_read_without_what_takes_long_to_import():
    code = (
        "import sys, regbench.methods.shared.data.files.spec\n"
        "print(*sorted({'torch', 'sklearn', 'pandas', 'pyarrow', 'PIL', 'datasets', 'numpy'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_columns_of_one_name_are_told_apart_as_pandas_does(tmp_path):
    (tmp_path / "a.csv").write_text("a,y,a,a\n" + 10 * "1,0,2,3\n2,1,4,5\n")
    columns = read("a", spec_of(tmp_path, csv="a.csv", target="y")).meta["columns"]
    assert columns == ("a", "a.1", "a.2") == tuple(pd.read_csv(tmp_path / "a.csv").columns.drop("y"))


def test_a_quoted_field_may_hold_lines_and_delimiters(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,y\n" + 10 * '1,"u, ""w""",0\n2,"v\nv",1\n')
    assert read("a", spec_of(tmp_path, csv="a.csv", target="y")).meta["columns"] == ("a", 'b=u, "w"', "b=v\nv")


def test_arrays_of_an_npz_file_are_columns(tmp_path):
    frame = wine()
    inputs = frame.drop(columns="kind").to_numpy()
    np.savez(tmp_path / "wine.npz", x=inputs, y=frame["kind"].to_numpy()[:, None], weight=np.ones(178))
    frame.to_csv(tmp_path / "wine.csv", index=False)
    arrays = read("wine", spec_of(tmp_path, npz="wine.npz", target="y", features=["x"]))
    table = read("wine", spec_of(tmp_path, csv="wine.csv", target="kind"))
    for split in SPLITS:
        for found, expected in zip(getattr(arrays, split).tensors, getattr(table, split).tensors, strict=True):
            torch.testing.assert_close(found, expected)
    assert arrays.meta["columns"] == tuple(f"x{place}" for place in range(13))
    both = read("wine", spec_of(tmp_path, npz="wine.npz", target="y", drop=["weight"]))
    assert both.meta["columns"] == arrays.meta["columns"]


def test_the_rarest_of_many_categories_share_an_input(tmp_path):
    towns = [f"town {place}" for place in range(150)]
    table = pd.DataFrame({"town": towns * 4 + towns[:50] * 4, "y": np.arange(800) % 2})
    table.to_csv(tmp_path / "towns.csv", index=False)
    data = read("towns", spec_of(tmp_path, csv="towns.csv", target="y"))
    assert data.meta["shape"] == (101,)
    assert data.meta["columns"][-1] == "town=others"
    assert (data.train.tensors[0].sum(1) == 1).all()


def test_what_a_target_is_taken_for_and_what_may_be_said_instead(tmp_path):
    wine().assign(quality=np.arange(178) % 6, years=np.arange(178) % 30).to_csv(tmp_path / "wine.csv", index=False)
    for target, task in (("quality", "classification"), ("years", "regression"), ("alcohol", "regression")):
        assert read("wine", spec_of(tmp_path, csv="wine.csv", target=target)).meta["task"] == task
    quality = read("wine", spec_of(tmp_path, csv="wine.csv", target="quality"))
    require_track(quality, "classification")
    with pytest.raises(ConfigError) as error:
        require_track(quality, "regression")
    assert str(error.value) == (
        "target 'quality' of wine.csv has 6 different whole numbers, taken as classes: for track regression add "
        "`task: regression`"
    )
    real = read("wine", spec_of(tmp_path, csv="wine.csv", target="quality", task="regression"))
    require_track(real, "regression")
    assert real.train.tensors[1].is_floating_point()
    years = read("wine", spec_of(tmp_path, csv="wine.csv", target="years", task="classification"))
    assert years.meta["classes"] == 30
    assert years.meta["class_names"][9:11] == ("9", "10")
    for data, track, part in (
        (read("wine", spec_of(tmp_path, csv="wine.csv", target="years")), "classification", "add `task: classification`"),
        (quality, "fairness", "`protected`"),
        (quality, "language", "classification, regression, fairness"),
    ):
        with pytest.raises(ConfigError, match=part):
            require_track(data, track)


def test_protected_columns_make_a_data_set_of_track_fairness(tmp_path):
    table = mixed().assign(sex=["f", "m"] * 60, region=[1, 2, 3] * 40)
    table["age"] = table["age"].fillna(50)
    table.to_csv(tmp_path / "mixed.csv", index=False)
    keys = {"csv": "mixed.csv", "protected": ["sex", "age", "region"], "drop": ["patient"]}
    data = read("fair", spec_of(tmp_path, target="kind", **keys))
    x, s, y, exposure, _ = data.train.tensors
    assert spec_of(tmp_path, target="kind", **keys).tracks == ("fairness",)
    assert data.meta["widths"] == (1, 1, 3)
    assert data.meta["target"] == "binary"
    assert not any(name.split("=")[0] in ("sex", "age", "region") for name in data.meta["columns"])
    assert tuple(x.shape[1:]) == data.meta["shape"]
    assert set(y.tolist()) == {0.0, 1.0}
    assert (exposure == 1).all()
    assert s.amin() == 0
    assert s.amax() == 1
    assert (s[:, 2].sum(1) == 1).all()
    assert not s[:, :2, 1:].any()
    every = torch.cat([getattr(data, split).tensors[4] for split in SPLITS])
    attributes = torch.cat([getattr(data, split).tensors[1] for split in SPLITS])
    assert len(every.unique()) == 12
    # A group is one value of sex and region, and one side of a line through age.
    for group in every.unique():
        of_group = attributes[every == group]
        assert (of_group[:, 0] == of_group[0, 0]).all()
        assert (of_group[:, 2] == of_group[0, 2]).all()
    require_track(data, "fairness")
    with pytest.raises(ConfigError, match="leave out `protected`"):
        require_track(data, "classification")
    price = read("fair", spec_of(tmp_path, target="price", **(keys | {"drop": ["patient", "kind"]})))
    assert price.meta["target"] == "real"
    assert price.train.tensors[2].std(correction=0).item() == pytest.approx(1, abs=1e-5)
