"""Hugging Face data sets: what save_to_disk wrote is what the same rows in files are. Without the package, a hint."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from making import SPLITS, mixed, refusal, sizes, spec_of
from sklearn.datasets import load_digits

from regbench.methods.shared.data.files.reading import read


def test_without_the_package_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from regbench.methods.shared.data.files.reading import read\n"
        "from regbench.methods.shared.data.files.spec import FileData\n"
        "try: read('a', FileData(hf='owner/name', target='label'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "SurroundingsError hf: 'owner/name' needs the package datasets: pip install 'regbench[hf]'"


@pytest.fixture(scope="module")
def datasets():
    found = pytest.importorskip("datasets", reason="extra hf")
    found.disable_progress_bars()
    return found


def test_a_table_is_what_it_is_as_csv(tmp_path, datasets):
    table = mixed()
    table.to_csv(tmp_path / "mixed.csv", index=False)
    datasets.Dataset.from_pandas(table).save_to_disk(tmp_path / "mixed")
    keys = {"target": "kind", "drop": ["patient"]}
    hub, csv = (
        read("mixed", spec_of(tmp_path, **{form: f"mixed{end}"}, **keys)) for form, end in (("hf", ""), ("csv", ".csv"))
    )
    for split in SPLITS:
        for found, expected in zip(getattr(hub, split).tensors, getattr(csv, split).tensors, strict=True):
            torch.testing.assert_close(found, expected)
    assert hub.meta["columns"] == csv.meta["columns"]


def pictures(datasets, rows):
    images, labels = load_digits(return_X_y=True)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return datasets.Dataset.from_dict(
        {"image": [(image.reshape(8, 8) * 15).astype(np.uint8) for image in images[rows]], "label": labels[rows].tolist()},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}),
    )


def test_images_with_named_labels_in_given_splits(tmp_path, datasets):
    parts = {"train": slice(0, 100), "validation": slice(100, 140), "test": slice(140, 180), "extra": slice(180, 190)}
    found = datasets.DatasetDict({name: pictures(datasets, rows) for name, rows in parts.items()})
    found.save_to_disk(tmp_path / "digits")
    spec = spec_of(tmp_path, hf="digits", target="label")
    data = read("digits", spec)
    assert sizes(data) == [100, 40, 40]
    assert not spec.splits
    assert data.meta["shape"] == (1, 8, 8)
    images, labels = load_digits(return_X_y=True)
    expected = torch.tensor(images[100:140] * 15 / 255, dtype=torch.float32).reshape(-1, 1, 8, 8)
    torch.testing.assert_close(data.validation.tensors[0], expected)
    names = [data.meta["class_names"][label] for label in data.validation.tensors[1]]
    assert names == [found["train"].features["label"].names[label] for label in labels[100:140]]


def test_a_training_split_alone_is_split(tmp_path, datasets):
    datasets.DatasetDict({"train": pictures(datasets, slice(0, 200))}).save_to_disk(tmp_path / "digits")
    spec = spec_of(tmp_path, hf="digits", target="label")
    assert spec.splits
    assert sizes(read("digits", spec, split=1)) == [120, 40, 40]


def test_what_cannot_be_read_is_refused(tmp_path, datasets):
    (tmp_path / "folder").mkdir()
    assert "save_to_disk" in refusal(tmp_path, hf="folder", target="y")
    assert "there is no folder" in refusal(tmp_path, hf="some/where/else", target="y")
    datasets.DatasetDict(
        {"train": pictures(datasets, slice(0, 20)), "validation": pictures(datasets, slice(20, 40))}
    ).save_to_disk(tmp_path / "part")
    assert refusal(tmp_path, hf="part", target="label") == "part has no split 'test', only train, validation"
    labels = datasets.Dataset.from_dict(
        {"x": [0.5] * 40, "label": [0, 1] * 19 + [-1, 1]},
        features=datasets.Features({"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=["a", "b"])}),
    )
    labels.save_to_disk(tmp_path / "unlabelled")
    assert "target 'label' has no value in row 39 of unlabelled" in refusal(tmp_path, hf="unlabelled", target="label")


def test_a_name_is_loaded_from_the_hub_and_without_a_network_refused_in_a_line(tmp_path, datasets, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = datasets.DatasetDict({"train": pictures(datasets, slice(0, 60)), "test": pictures(datasets, slice(60, 80))})
    monkeypatch.setattr(datasets, "load_dataset", {"owner/digits": given}.__getitem__)
    spec = spec_of(tmp_path, hf="owner/digits", target="label")
    assert (spec.on_hub, spec.splits, spec.label) == (True, False, "owner/digits")
    assert sizes(read("digits", spec)) == [48, 12, 20]

    def unreachable(name: str) -> None:
        assert not logging.getLogger("huggingface_hub.utils").isEnabledFor(logging.WARNING), "it would tell of each attempt"
        raise ConnectionError(f"cannot reach\n{name}")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    said = "'owner/digits' is no folder here, and cannot be loaded from the Hugging Face hub: cannot reach owner/digits"
    assert refusal(tmp_path, hf="owner/digits", target="label") == said
    assert f"there is no folder {tmp_path / 'digits'}, and it is no name on" in refusal(tmp_path, hf="./digits", target="label")
