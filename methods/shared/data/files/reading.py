"""Data sets as tracks take them, from a user's files."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError, DataError
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.files.image_files import ImageFiles
from regbench.methods.shared.data.files.images import CLASS, read_folder
from regbench.methods.shared.data.files.inputs import encode, input_columns
from regbench.methods.shared.data.files.protection import protected_attributes
from regbench.methods.shared.data.files.rows import Rows
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.shared.data.files.splitting import split_rows
from regbench.methods.shared.data.files.tables import read_tables
from regbench.methods.shared.data.files.targets import Target, read_target, require_known_classes
from regbench.methods.shared.data.files.texts import token_inputs
from regbench.methods.shared.data.protected import protected_data

# The tracks that take data from files.
TRACKS = ("classification", "regression", "fairness")


def read(name: str, spec: FileData, split: int = 0) -> Data:
    """A data set from files.

    Its ``meta`` has, beside ``shape`` and what its tracks need (``classes``; ``scale`` of a standardized real target; of
    protected attributes ``target`` and ``widths``): ``task``, ``told`` (what the target is, in words), ``target_column``,
    ``class_names``, and of tables ``columns``, the name of each input.

    Args:
        name: what it is called.
        spec: says where it is and what of it is wanted.
        split: the number of the split, the seed of all that is drawn.

    Raises:
        ConfigError: splits that files give have no other number than 0, or a package is missing.
        DataError: a file is missing or damaged, or does not fit what is said of it; one line that says where.
    """
    if split and not spec.splits:
        raise ConfigError(f"data set '{name}' keeps the split that it is given with: leave out resplit")
    rows = _rows(spec)
    column = spec.target or CLASS
    target = read_target(rows, column, spec.task)
    places, drawn = split_rows(rows, spec, target, split)
    for part, chosen in places.items():
        if len(chosen) < (2 if part == "train" else 1):
            raise DataError(f"{rows.label} has {len(rows)} rows: too few, {len(chosen)} would be in the {part} split")
    require_known_classes(target, places, rows)
    facts = {"task": target.task, "told": target.told, "numeric": target.numeric, "target_column": column}
    if target.classes is not None:
        facts["class_names"] = target.classes
    pool = len(rows) if drawn else 0
    if rows.pictures is not None:
        if spec.protected:
            raise DataError(f"{rows.label} has images as inputs: protected attributes go with columns alone")
        return _image_data(name, rows.pictures, target, places, facts, pool)
    if spec.text is not None:
        tokens, vocabulary = token_inputs(rows, spec)
        y, more = _values(target, places["train"])
        meta = facts | more | {"shape": tuple(tokens.shape[1:]), "vocabulary": vocabulary}
        return Data(name, **_splits(tokens, y, places), meta=meta, pool=pool)
    x, columns = encode(rows, input_columns(rows, spec), places["train"])
    facts["columns"] = columns
    if spec.protected:
        return _protected(name, rows, spec, x, target, places, facts, pool)
    y, more = _values(target, places["train"])
    meta = facts | more | {"shape": (x.shape[1],)}
    return Data(name, **_splits(torch.tensor(x, dtype=torch.float32), y, places), meta=meta, pool=pool)


def _rows(spec: FileData) -> Rows:
    if spec.source == "images":
        return read_folder(spec)
    if spec.source == "hf":
        from regbench.methods.shared.data.files.hub import read_hub

        return read_hub(spec)
    return read_tables(spec)


def _image_data(
    name: str,
    pictures: np.ndarray | ImageFiles,
    target: Target,
    places: dict[str, np.ndarray],
    facts: dict[str, Any],
    pool: int,
) -> Data:
    if target.classes is None:
        raise DataError(
            f"{target.told}, taken as real values: images have classes; add `task: classification` if these are some"
        )
    splits: dict[str, Any] = {}
    for part, chosen in places.items():
        if isinstance(pictures, ImageFiles):
            splits[part] = pictures.part(chosen, target.values[chosen])
            continue
        # Split while they are bytes: floats are four times as large.
        x = torch.from_numpy(np.ascontiguousarray(pictures[chosen])).float()
        splits[part] = TensorDataset(x.div_(255) if pictures.dtype == np.uint8 else x, torch.from_numpy(target.values[chosen]))
    meta = facts | {"classes": len(target.classes), "shape": tuple(pictures.shape[1:])}
    return Data(name, **splits, meta=meta, pool=pool)


def _values(target: Target, train: np.ndarray) -> tuple[torch.Tensor, dict[str, Any]]:
    """Classes as int64, or real values standardized by the training rows, and what the track needs to know of them."""
    if target.classes is not None:
        return torch.from_numpy(target.values), {"classes": len(target.classes)}
    y, center, scale = standardized(target, train)
    return torch.tensor(y, dtype=torch.float32), {"scale": scale, "center": center}


def standardized(target: Target, train: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Real values by mean and spread of the training rows, with both.

    Raises:
        DataError: all training rows have one value.
    """
    center, scale = float(target.values[train].mean()), float(target.values[train].std())
    if not scale:
        raise DataError(f"{target.told}, but a single one in the training split: there is nothing to learn")
    return (target.values - center) / scale, center, scale


def _splits(x: torch.Tensor, y: torch.Tensor, places: dict[str, np.ndarray]) -> dict[str, TensorDataset]:
    return {part: TensorDataset(*(values[torch.from_numpy(rows)] for values in (x, y))) for part, rows in places.items()}


def _protected(
    name: str,
    rows: Rows,
    spec: FileData,
    x: np.ndarray,
    target: Target,
    places: dict[str, np.ndarray],
    facts: dict[str, Any],
    pool: int,
) -> Data:
    """A data set of track fairness: of two classes the second is 1, real values are standardized."""
    if target.classes is not None and len(target.classes) != 2:
        raise DataError(
            f"{target.told}: with protected attributes it must have two classes, or real values (`task: regression`)"
        )
    if target.classes is None:
        y, center, scale = standardized(target, places["train"])
        facts = facts | {"scale": scale, "center": center}
    else:
        y = target.values
    attributes, groups = protected_attributes(rows, spec.protected, places["train"])
    kind = "real" if target.classes is None else "binary"
    data = protected_data(name, kind, places, x=x, attributes=attributes, y=y, groups=groups, pool=pool)
    return replace(data, meta=facts | dict(data.meta) | {"protected": tuple(attributes)})


def require_track(data: Data, track: str) -> None:
    """Refuses a track that does not take a data set from files. Of other data sets, tracks know which they take.

    Raises:
        ConfigError: says why, and what to add.
    """
    if "told" not in data.meta:
        return
    meta = data.meta
    if track not in TRACKS:
        raise ConfigError(f"track {track} takes no data from files, as '{data.name}' has them; these do: {', '.join(TRACKS)}")
    if "widths" in meta:
        if track != "fairness":
            raise ConfigError(f"data set '{data.name}' has protected attributes, for track fairness: leave out `protected`")
        return
    if track == "fairness":
        raise ConfigError(
            f"data set '{data.name}' has no protected attributes: for track fairness, name columns as `protected`"
        )
    if track == meta["task"]:
        return
    taken = "classes" if meta["task"] == "classification" else "real values"
    if meta["numeric"]:
        raise ConfigError(f"{meta['told']}, taken as {taken}: for track {track} add `task: {track}`")
    raise ConfigError(f"{meta['told']}, which are no numbers: track {track} needs such")
