"""Hugging Face data sets: folders that ``save_to_disk`` wrote, and names on the hub. Needs the extra ``hf``."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data.files.images import pictures_of
from regbench.methods.shared.data.files.rows import Rows
from regbench.methods.shared.data.files.spec import SPLIT_NAMES, FileData
from regbench.methods.shared.data.files.tables import joined
from regbench.methods.shared.extras import library


def read_hub(spec: FileData) -> Rows:
    """The rows of a Hugging Face data set. Splits that are not called train, validation or test are left out.

    Raises:
        SurroundingsError: the package ``datasets`` cannot be imported.
        DataError: there is no such data set, or it has training rows and none to test.
    """
    datasets = library("datasets", "hf", f"hf: '{spec.hf}'")
    parts = _parts(_load(spec, datasets), spec.label)
    first = next(iter(parts.values()))
    images = [name for name, feature in first.features.items() if isinstance(feature, datasets.Image)]
    others = {spec.target, spec.split_column, spec.group, *spec.drop}
    inputs = spec.features or [name for name in first.column_names if name not in others]
    wanted = [name for name in images if name in inputs]
    if wanted and len(inputs) > 1:
        raise DataError(f"{spec.label} has images '{wanted[0]}' beside other inputs: name it alone in `features`")
    tables = {split: _table(part, images, datasets) for split, part in parts.items()}
    label = spec.label
    rows = joined(tables, dict.fromkeys(tables, label), label)
    if not len(rows):
        raise DataError(f"{label} is empty")
    if not wanted:
        return rows
    encoded = [part.cast_column(wanted[0], datasets.Image(decode=False))[wanted[0]] for part in parts.values()]
    flat = [image for part in encoded for image in part]
    missing = [place for place, image in enumerate(flat) if image is None]
    if missing:
        raise DataError(f"{rows.where(missing[0])} has no image in '{wanted[0]}'")
    sources = [io.BytesIO(image["bytes"]) if image["bytes"] is not None else Path(image["path"]) for image in flat]
    return replace(rows, pictures=pictures_of(sources, [rows.where(row) for row in range(len(flat))], spec.size))


def _load(spec: FileData, datasets: ModuleType) -> Any:
    """What the package makes of the folder or the name."""
    assert spec.hf is not None
    if spec.on_hub:
        try:
            with _quiet():
                return datasets.load_dataset(spec.hf)
        except Exception as error:  # Of the network, of the hub, of any format that the hub knows.
            raise DataError(
                f"'{spec.hf}' is no folder here, and cannot be loaded from the Hugging Face hub: {one_line(error)}"
            ) from None
    if not Path(spec.hf).is_dir():
        raise DataError(f"there is no folder {spec.hf}, and it is no name on the Hugging Face hub")
    try:
        return datasets.load_from_disk(spec.hf)
    except Exception as error:
        raise DataError(f"{spec.hf} cannot be read as a data set that save_to_disk wrote: {one_line(error)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the hub's library from telling of each attempt: the last one's error says it all."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _parts(found: Any, label: str) -> dict[str, Any]:
    """The data sets of the splits, or that of all rows under ``all``."""
    if not isinstance(found, dict):
        return {"all": found}
    parts = {SPLIT_NAMES[name]: part for name, part in found.items() if name in SPLIT_NAMES}
    if list(parts) == ["train"]:
        return {"all": parts["train"]}
    for split in ("train", "test"):
        if split not in parts:
            raise DataError(f"{label} has no split '{split}', only {', '.join(found)}")
    return {split: parts[split] for split in SPLIT_NAMES if split in parts}


def _table(part: Any, images: list[str], datasets: ModuleType) -> pa.Table:
    """The columns other than images; class labels by their names, -1, which stands for none, as missing."""
    part = part.remove_columns(images)
    table = part.with_format("arrow")[:]
    for name, feature in part.features.items():
        if isinstance(feature, datasets.ClassLabel):
            numbers = np.asarray(table.column(name).to_pylist(), dtype=object)
            names = [None if n is None or n < 0 else feature.names[n] for n in numbers]
            table = table.set_column(table.column_names.index(name), name, pa.array(names, pa.string()))
    return table
