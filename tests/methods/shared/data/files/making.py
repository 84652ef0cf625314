"""Files to read: scikit-learn's bundled sets, and the refusals of damaged ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from regbench.methods.errors import RegbenchError
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.files.reading import read
from regbench.methods.shared.data.files.spec import FileData

SPLITS = ("train", "validation", "test")


def spec_of(folder: Path, **keys: Any) -> FileData:
    return FileData.model_validate(keys).resolved(folder)


def refusal(folder: Path, **keys: Any) -> str:
    """The one line with which a data set is refused."""
    with pytest.raises(RegbenchError) as error:
        read("mine", spec_of(folder, **keys))
    assert "\n" not in str(error.value)
    return str(error.value)


def sizes(data: Data) -> list[int]:
    return [len(getattr(data, split)) for split in SPLITS]


def wine() -> pd.DataFrame:
    """178 wines of three kinds, 13 measurements."""
    return load_wine(as_frame=True).frame.rename(columns={"target": "kind"})


def mixed(rows: int = 120) -> pd.DataFrame:
    """A table with every kind of column: numbers and text with values missing, booleans, groups, a class and a real target."""
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": draw.uniform(20, 80, rows),
            "colour": draw.choice(["red", "green", "blue"], rows),
            "member": draw.random(rows) < 0.5,
            "patient": np.arange(rows) // 4,
            "kind": draw.choice(["no", "yes"], rows),
            "price": draw.normal(200_000, 50_000, rows),
        }
    )
    table.loc[draw.choice(rows, rows // 6, replace=False), "age"] = np.nan
    table.loc[draw.choice(rows, rows // 6, replace=False), "colour"] = None
    return table


def digit_folder(folder: Path, rows: slice, *, colour: bool = False) -> None:
    """Digits as PNG files, in folders of their classes."""
    images, labels = load_digits(return_X_y=True)
    for place in range(*rows.indices(len(labels))):
        pixels = (images[place].reshape(8, 8) * 15).astype(np.uint8)
        path = folder / f"digit {labels[place]}" / f"{place:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([pixels, pixels // 2, pixels // 3], 2) if colour else pixels).save(path)
