"""Rows are split by shares, by a column, by groups or by files, and the description of it survives what suites do with it."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from making import SPLITS, digit_folder, mixed, refusal, sizes, spec_of, wine
from pydantic import ValidationError

from regbench.methods.errors import ConfigError, DataError
from regbench.methods.shared.data.files.reading import read
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.strict import explain


def numbered(rows: int = 200) -> pd.DataFrame:
    """Rows that know their number, and belong to forty groups of different sizes."""
    draw = np.random.default_rng(1)
    return pd.DataFrame({"row": np.arange(rows) + 0.5, "group": np.sort(draw.integers(0, 40, rows)), "y": np.arange(rows) % 4})


def places(data) -> list[np.ndarray]:
    """The rows of each split, by their order."""
    found = [getattr(data, split).tensors[0][:, 0].numpy() for split in SPLITS]
    order = np.sort(np.concatenate(found))
    return [np.searchsorted(order, part) for part in found]


@pytest.mark.parametrize("split", [None, {"test": 0.5}, {"validation": 0.1, "test": 0.3}])
def test_shares_are_of_all_rows_and_of_each_class(tmp_path, split):
    numbered().to_csv(tmp_path / "a.csv", index=False)
    keys = {"split": split} if split else {}
    data = read("a", spec_of(tmp_path, csv="a.csv", target="y", **keys))
    shares = {"validation": 0.2, "test": 0.2} | (split or {})
    assert sizes(data)[1:] == [round(200 * shares[part]) for part in SPLITS[1:]]
    for part, share in shares.items():
        counts = torch.bincount(getattr(data, part).tensors[1], minlength=4)
        assert ((counts - 50 * share).abs() <= 1).all()
    assert sorted(np.concatenate(places(data))) == list(range(200))


def test_the_number_of_the_split_is_its_seed(tmp_path):
    numbered().to_csv(tmp_path / "a.csv", index=False)
    spec = spec_of(tmp_path, csv="a.csv", target="y")
    assert spec.splits
    first, again, other = (places(read("a", spec, split=number)) for number in (3, 3, 4))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_together_and_classes_are_mixed(tmp_path, seed):
    table = numbered()
    table.to_csv(tmp_path / "a.csv", index=False)
    spec = spec_of(tmp_path, csv="a.csv", target="y", group="group")
    data = read("a", spec, split=seed)
    groups = [set(table["group"][rows]) for rows in places(data)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == table["group"].nunique()
    assert np.abs(np.array(sizes(data)) / 200 - [0.6, 0.2, 0.2]).max() < 0.06
    assert data.meta["columns"] == ("row",), "the group is no input"
    assert data.pool == 200


@pytest.mark.parametrize("seed", range(4))
def test_a_large_group_trains_and_few_groups_fill_all_splits(tmp_path, seed):
    table = pd.DataFrame({"row": np.arange(120) + 0.5, "group": [0] * 80 + [1, 2, 3, 4] * 10, "y": np.arange(120) / 7})
    table.to_csv(tmp_path / "a.csv", index=False)
    assert sizes(read("a", spec_of(tmp_path, csv="a.csv", target="y", group="group"), split=seed))[0] >= 80
    three = table[table["group"] > 1]
    three.to_csv(tmp_path / "b.csv", index=False)
    keys = {"target": "y", "group": "group", "split": {"test": 0.05}}
    assert sizes(read("b", spec_of(tmp_path, csv="b.csv", **keys), split=seed)) == [10, 10, 10]


def test_a_group_may_be_any_kind_of_column(tmp_path):
    table = numbered()
    groups = table["group"]
    kinds = {
        "whole": groups,
        "half": groups.astype(np.float16),
        "text": groups.astype(str),
        "category": groups.astype("category"),
    }
    splits = []
    for name, column in kinds.items():
        table.assign(group=column).to_parquet(tmp_path / f"{name}.parquet")
        splits.append(places(read(name, spec_of(tmp_path, parquet=f"{name}.parquet", target="y", group="group"))))
    for found in splits[1:]:
        assert all(np.array_equal(*pair) for pair in zip(found, splits[0], strict=True))


def test_a_column_says_which_rows_are_which(tmp_path):
    said = ["train"] * 100 + ["valid"] * 60 + ["Test"] * 40
    numbered().assign(part=said).to_csv(tmp_path / "a.csv", index=False)
    spec = spec_of(tmp_path, csv="a.csv", target="y", split_column="part")
    data = read("a", spec)
    assert [part.tolist() for part in map(np.sort, places(data))] == [
        list(range(100)), list(range(100, 160)), list(range(160, 200)),
    ]  # fmt: skip
    assert not spec.splits
    assert data.pool == 0
    assert "part=train" not in data.meta["columns"]
    with pytest.raises(ConfigError, match="resplit"):
        read("a", spec, split=1)


def test_files_are_the_splits_and_validation_may_be_drawn(tmp_path):
    table = numbered()
    for name, rows in (("a", slice(0, 120)), ("b", slice(120, 160)), ("c", slice(160, 200))):
        table[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    three = spec_of(tmp_path, csv={"train": "a.csv", "validation": "b.csv", "test": "c.csv"}, target="y")
    assert sizes(read("a", three)) == [120, 40, 40]
    two = spec_of(tmp_path, csv={"train": "a.csv", "test": "c.csv"}, target="y", split={"validation": 0.25})
    data = read("a", two)
    assert sizes(data) == [90, 30, 40]
    assert not two.splits
    assert all(np.array_equal(*pair) for pair in zip(places(data), places(read("a", two)), strict=True))


def test_paths_become_absolute_and_what_is_written_can_be_read(tmp_path):
    wine().to_csv(tmp_path / "wine.csv", index=False)
    spec = FileData.model_validate({"csv": "wine.csv", "target": "kind"})
    there = spec.resolved(tmp_path)
    assert there.paths == {"all": str(tmp_path / "wine.csv")}
    assert FileData.model_validate(there.model_dump(mode="json")) == there
    assert there.resolved(tmp_path / "elsewhere") == there
    assert read("wine", FileData.model_validate_json(there.model_dump_json())).meta["classes"] == 3


def test_the_digest_follows_the_contents_alone(tmp_path):
    wine().to_csv(tmp_path / "wine.csv", index=False)
    wine().to_csv(tmp_path / "copy.csv", index=False)
    digest = {name: spec_of(tmp_path, csv=name, target="kind").digest() for name in ("wine.csv", "copy.csv")}
    assert len(set(digest.values())) == 1
    os.utime(tmp_path / "copy.csv", (0, 0))
    assert spec_of(tmp_path, csv="copy.csv", target="alcohol").digest() == digest["wine.csv"]
    (tmp_path / "copy.csv").write_text((tmp_path / "copy.csv").read_text() + "1\n")
    assert spec_of(tmp_path, csv="copy.csv", target="kind").digest() != digest["wine.csv"]
    digit_folder(tmp_path / "digits", slice(0, 20))
    images = spec_of(tmp_path, images="digits")
    before = images.digest()
    image = next((tmp_path / "digits" / "digit 3").iterdir())
    image.rename(image.with_name("0.png"))
    assert images.digest() != before
    with pytest.raises(DataError, match=r"cannot read .*gone\.csv"):
        spec_of(tmp_path, csv="gone.csv", target="y").digest()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"csv": "a.csv"}, "target is missing"),
        ({"target": "y"}, "give one of csv, parquet, npz, images, hf"),
        ({"csv": "a.csv", "npz": "b.npz", "target": "y"}, "not both csv and npz"),
        ({"csv": {"train": "a.csv"}, "target": "y"}, "csv: give one file, or `train` and `test`"),
        ({"csv": {"all": "a.csv", "test": "b.csv"}, "target": "y"}, "csv: give one file"),
        ({"csv": "a.csv", "targt": "y"}, "unknown key 'targt'; did you mean 'target'?"),
        ({"images": "a", "target": "y"}, "leave out target"),
        ({"images": "a", "task": "regression"}, "leave out task"),
        ({"csv": "a.csv", "target": "y", "drop": ["y"]}, "'y' is the target: it cannot stand in drop too"),
        ({"csv": "a.csv", "target": "y", "group": "y"}, "it cannot stand in group too"),
        ({"csv": "a.csv", "target": "y", "features": ["a"], "drop": ["b"]}, "leave out drop"),
        ({"csv": "a.csv", "target": "y", "features": ["a"], "protected": ["a"]}, "leave it out of features"),
        ({"csv": "a.csv", "target": "y", "split_column": "s", "split": {}}, "leave out split"),
        ({"csv": {"train": "a", "test": "b"}, "target": "y", "group": "s"}, "the files are the splits: leave out group"),
        ({"csv": "a.csv", "target": "y", "split": {"test": 0.7, "validation": 0.3}}, "leave some to train"),
        ({"csv": "a.csv", "target": "y", "size": [8, 8]}, "leave it out"),
        ({"images": "a", "size": [0, 8]}, "size.0: must be at least 1"),
        ({"csv": "a.csv", "target": "y", "task": "ranking"}, "task: must be one of 'classification' or 'regression'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(keys, said):
    with pytest.raises(ValidationError) as error:
        FileData.model_validate(keys)
    assert said in explain(error.value)


def test_tracks_are_known_as_far_as_they_can_be():
    table = {"csv": "a.csv", "target": "y"}
    assert FileData.model_validate(table).tracks == ("classification", "regression")
    assert FileData.model_validate(table | {"task": "regression"}).tracks == ("regression",)
    assert FileData.model_validate(table | {"protected": ["a"]}).tracks == ("fairness",)
    assert FileData.model_validate({"images": "a"}).tracks == ("classification",)


@pytest.mark.parametrize(
    ("change", "keys", "said"),
    [
        ({}, {"target": "knd"}, "target: a.csv has no column 'knd'; did you mean 'kind'?"),
        ({}, {"features": ["agee"]}, "features: a.csv has no column 'agee'; did you mean 'age'?"),
        ({}, {"drop": ["agee"]}, "drop: a.csv has no column 'agee'"),
        ({}, {"group": "patent"}, "group: a.csv has no column 'patent'; did you mean 'patient'?"),
        ({}, {"protected": ["colour"]}, "protected 'colour' has no value in row "),
        ({"kind": {16: None}}, {}, "target 'kind' has no value in row 17 of a.csv: fill it in"),
        ({"kind": {16: None, 18: None}}, {}, "row 17 of a.csv and 1 more"),
        ({"price": {2: float("inf")}}, {"target": "price"}, "target 'price' of a.csv is infinite in row 3 of a.csv"),
        (
            {"age": {4: float("-inf")}},
            {},
            "column 'age' of a.csv cannot be an input, it is infinite in row 5 of a.csv: put it among `drop`",
        ),
        ({"kind": "yes"}, {}, "target 'kind' of a.csv has the single class 'yes'"),
        ({"price": 3.0}, {"target": "price", "task": "regression"}, "target 'price' of a.csv is 3 in all rows"),
        ({"kind": {7: "perhaps"}}, {}, "class 'perhaps' has too few rows in a.csv"),
        ({}, {"task": "regression"}, "target 'kind' of a.csv is text or a category, such as 'yes' in row 1 of a.csv"),
        ({}, {"target": "price", "task": "classification"}, "they are no classes"),
        (
            {"name": [f"n{row}" for row in range(120)]},
            {},
            "column 'name' of a.csv cannot be an input, it has 120 different texts in 120 rows, names such as 'n0'",
        ),
        ({"day": "2026-11-30"}, {}, "column 'day' of a.csv cannot be an input, it holds date32[day]"),
        ({"empty": None}, {}, "column 'empty' of a.csv cannot be an input, it has no value at all"),
        ({"day": "2026-11-30", "empty": None, "age": float("inf")}, {}, "; nor can day, empty: put them among `drop`"),
        ({"part": "train"}, {"split_column": "part"}, "split_column 'part' of a.csv says test in no row"),
        ({"part": "late"}, {"split_column": "part"}, "says 'late' in row 1 of a.csv"),
        ({"patient": [1, 2] * 60}, {"group": "patient"}, "group 'patient' of a.csv has 2 different values"),
        ({"sex": "f"}, {"protected": ["sex"]}, "protected 'sex' of a.csv is f in all training rows"),
        ({"kind": ["a", "b", "c"] * 40, "sex": ["f", "m"] * 60}, {"protected": ["sex"]}, "it must have two classes"),
        ({"age": None, "price": None}, {"features": ["age"]}, "no value at all"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_row_and_setting(tmp_path, change, keys, said):
    table = mixed()
    for name, value in change.items():
        if isinstance(value, dict):
            for row, cell in value.items():
                table.loc[row, name] = cell
        else:
            table[name] = value
    table.to_csv(tmp_path / "a.csv", index=False)
    assert said in refusal(tmp_path, **({"csv": "a.csv", "target": "kind"} | keys))


def test_a_class_in_the_test_split_alone_is_refused(tmp_path):
    table = mixed().assign(part=["train"] * 80 + ["validation"] * 20 + ["test"] * 20)
    table.loc[110, "kind"] = "perhaps"
    table.to_csv(tmp_path / "a.csv", index=False)
    said = refusal(tmp_path, csv="a.csv", target="kind", split_column="part")
    assert said.startswith("class 'perhaps' is in the test split, such as row 111 of a.csv, but no training row has it")
    table[:100].to_csv(tmp_path / "train.csv", index=False)
    table[100:].to_csv(tmp_path / "test.csv", index=False)
    said = refusal(tmp_path, csv={"train": "train.csv", "test": "test.csv"}, target="kind")
    assert "such as row 11 of test.csv (test)" in said


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes(("a,b\n" + 10_000 * "e,2\n" + "é,2\n").encode("latin-1"))
    (tmp_path / "header_latin.csv").write_bytes("é,b\n1,2\n".encode("latin-1"))
    (tmp_path / "few.csv").write_text("a,b\n1,u\n2,v\n3,u\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    for name, part in {
        "gone.csv": "cannot read",
        "ragged.csv": "row 2: Expected 2 columns, got 3",
        "header.csv": "is empty: it has 2 columns and no row",
        "empty.csv": "cannot read",
        "latin.csv": "column 'a' is no text in UTF-8",
        "header_latin.csv": "its header is no text in UTF-8",
        "few.csv": "few",
    }.items():
        said = refusal(tmp_path, csv=name, target="b")
        assert name in said
        assert part in said
    for name in ("broken.parquet", "gone.parquet", "."):
        assert "cannot read" in refusal(tmp_path, parquet=name, target="b")
    mixed().to_csv(tmp_path / "a.csv", index=False)
    mixed().drop(columns="age").to_csv(tmp_path / "b.csv", index=False)
    said = refusal(tmp_path, csv={"train": "a.csv", "test": "b.csv"}, target="kind")
    assert said == "b.csv has no column 'age', which a.csv has"
    mixed().assign(age="old").to_csv(tmp_path / "b.csv", index=False)
    assert "differ in type" in refusal(tmp_path, csv={"train": "a.csv", "test": "b.csv"}, target="kind")


def test_arrays_that_are_no_numbers_are_refused(tmp_path):
    y = np.arange(30) % 2
    np.savez(tmp_path / "objects.npz", x=np.array([{}] * 30, dtype=object), y=y)
    np.savez(tmp_path / "complex.npz", x=np.ones((30, 2), complex), y=y)
    np.savez(tmp_path / "lengths.npz", x=np.ones((29, 2)), y=y)
    np.savez(tmp_path / "deep.npz", x=np.ones((30, 2)), maps=np.ones((30, 4, 4)), y=y)
    np.savez(tmp_path / "values.npz", x=np.linspace(-1, 2, 30 * 16).reshape(30, 4, 4), y=y)
    np.savez(tmp_path / "protected.npz", x=np.ones((30, 4, 4)), y=y, sex=y)
    np.save(tmp_path / "single.npz.npy", y)
    (tmp_path / "single.npz.npy").rename(tmp_path / "single.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    for name, part in {
        "objects": "cannot read",
        "complex": "array 'x' of",
        "lengths": "x has 29, y has 30",
        "deep": "has images 'maps' beside other inputs",
        "values": "image 1 of x of",
        "protected": "protected attributes go with columns alone",
        "single": "holds a single array",
        "text": "cannot read",
    }.items():
        said = refusal(tmp_path, npz=f"{name}.npz", target="y", protected=["sex"] if name == "protected" else [])
        assert f"{name}.npz" in said
        assert part in said
