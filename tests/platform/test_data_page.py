"""What `regbench data show` prints of a data set is what its tensors hold."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, load
from regbench.methods.shared.data.files.reading import read
from regbench.methods.shared.data.files.spec import FileData
from regbench.platform.data_page import SHADES, data_page, drawing
from regbench.platform.inventory.inventory import inventory

SPLITS = ("train", "validation", "test")
WIDTH = 110


def printed(data: Data) -> str:
    console = Console(markup=False, emoji=False, width=WIDTH, no_color=True)
    with console.capture() as capture:
        console.print(data_page(data, "what it is"))
    return capture.get()


def row(page: str, name: str) -> list[str]:
    """The cells of a table's line that begins with a name."""
    (line,) = (line for line in page.splitlines() if re.match(rf"│ {re.escape(name)} +│", line))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_classes_are_counted_in_each_split():
    data = load("digits_noisy")
    page = printed(data)
    assert row(page, "rows") == ["900", "300", "597"]
    for label in range(10):
        assert row(page, f"class {label}") == [str((getattr(data, split).tensors[1] == label).sum().item()) for split in SPLITS]
    assert "a row: float32 [1, 8, 8], int64" in page
    assert "from 0 to 1" in page


def test_of_a_real_target_the_range_is_shown_and_of_its_inputs_the_first_rows():
    data = load("diabetes")
    page = printed(data)
    targets = [getattr(data, split).tensors[1] for split in SPLITS]
    assert row(page, "target, least") == [f"{target.min():.4g}" for target in targets]
    assert row(page, "target, largest") == [f"{target.max():.4g}" for target in targets]
    first = row(page, f"{targets[0][0]:.3g}")
    assert first[:8] == [f"{value:.3g}" for value in data.train.tensors[0][0, :8].tolist()]


def test_a_data_set_from_a_file_shows_its_names(tmp_path):
    table = pd.DataFrame({"size": np.arange(100) * 0.5, "kind": ["a", "b"] * 50, "sex": ["f", "m", "m", "f"] * 25})
    table.to_csv(tmp_path / "a.csv", index=False)
    keys = {"csv": str(tmp_path / "a.csv"), "target": "kind"}
    page = printed(read("mine", FileData.model_validate(keys)))
    assert row(page, "class b") == ["30", "10", "10"]
    assert "target 'kind' of a.csv has 2 categories: classification" in page
    assert "3 inputs: size, sex (2 categories)" in page
    page = printed(read("mine", FileData.model_validate(keys | {"protected": ["sex"]})))
    assert "protected: sex" in page
    assert "groups: 2 in training" in page
    assert row(page, "class 1" if "class 1" in page else "class b") == ["30", "10", "10"]


def test_many_classes_are_summed_up():
    labels = torch.arange(30).repeat(4)
    split = TensorDataset(torch.rand(120, 3), labels)
    page = printed(Data("many", split, split, split, {"classes": 30, "shape": (3,)}))
    assert row(page, "class 19") == ["4", "4", "4"]
    assert row(page, "10 more, each") == ["4 to 4"] * 3
    assert "class 20" not in page


def test_an_image_is_drawn_in_shades_and_shrunk_to_fit():
    ramp = torch.linspace(0, 1, 5).expand(1, 4, 5)
    assert str(drawing(ramp)) == 4 * ("".join(2 * shade for shade in SHADES) + "\n")
    lines = str(drawing(torch.ones(3, 100, 50))).splitlines()
    assert len(lines) == 14
    assert {*"".join(lines)} == {SHADES[-1]}
    assert len(lines[0]) == 14
    colours = {str(span.style) for span in drawing(torch.tensor([1.0, 0.5, 0.0])[:, None, None].expand(3, 2, 2)).spans}
    assert colours == {"rgb(255,128,0)"}


EMBEDDED = [
    data.name
    for name in ("classification", "regression", "fairness", "private_regression", "generative", "density", "quadratic")
    for data in map(inventory().data_set, inventory().track(name).data)
    if data.folder is None
]


@pytest.mark.parametrize("name", [*dict.fromkeys(EMBEDDED), "digit_bags", "sparse_binary", "digits_discovery"])
def test_a_page_fits_any_data_set(name):
    data = load(name)
    page = printed(data)
    assert page.startswith(f"{name}: what it is\n")
    assert row(page, "rows") == [f"{len(getattr(data, split)):,}" for split in SPLITS]
    assert max(map(len, page.splitlines())) <= WIDTH
