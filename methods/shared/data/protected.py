"""Tables with protected attributes: inputs, attributes, a target, its exposure, and the intersectional group of each row."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data


def protected_data(
    name: str,
    target: str,
    rows: Mapping[str, np.ndarray],
    *,
    x: np.ndarray,
    attributes: Mapping[str, np.ndarray],
    y: np.ndarray,
    groups: np.ndarray,
    exposure: np.ndarray | None = None,
    pool: int = 0,
) -> Data:
    """A data set whose splits hold x ``[N, m]``, s ``[N, d, p]``, y ``[N]``, exposure ``[N]`` and groups ``[N]``.

    Inputs are standardized by the training rows. Each attribute fills one row of s, behind its own columns zero, which changes
    no distance; its columns are scaled to [0, 1] by the least and largest value of the training rows.

    Args:
        name: the name of the data set.
        target: ``real``, ``binary`` or ``count``.
        rows: the rows of ``train``, ``validation`` and ``test``.
        x: raw inputs, without protected attributes.
        attributes: name -> columns ``[N, p_k]``: one-hot, binary or continuous.
        y: targets.
        groups: a number for each intersection of attributes, from 0.
        exposure: what the mean of a count is proportional to; 1 where None.
        pool: of the data set.
    """
    learned = rows["train"]
    scale = x[learned].std(axis=0)
    x = (x - x[learned].mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    widths = tuple(columns.shape[1] for columns in attributes.values())
    s = np.zeros((len(y), len(widths), max(widths)))
    for place, columns in enumerate(attributes.values()):
        lowest, highest = columns[learned].min(axis=0), columns[learned].max(axis=0)
        s[:, place, : columns.shape[1]] = (columns - lowest) / np.where(highest > lowest, highest - lowest, 1.0)
    exposure = np.ones(len(y)) if exposure is None else exposure
    tensors = [torch.tensor(values, dtype=torch.float32) for values in (x, s, y, exposure)]
    tensors.append(torch.tensor(groups, dtype=torch.int64))
    splits = {split: TensorDataset(*(tensor[torch.tensor(places)] for tensor in tensors)) for split, places in rows.items()}
    return Data(name, **splits, meta={"target": target, "shape": (x.shape[1],), "widths": widths}, pool=pool)


def intersections(*labels: np.ndarray) -> np.ndarray:
    """A number from 0 for each combination that occurs, of labels ``[N]`` of any kind, as ``[N]``."""
    numbers = np.stack([np.unique(values, return_inverse=True)[1] for values in labels], axis=1)
    return np.unique(numbers, axis=0, return_inverse=True)[1].ravel()


def one_hot(labels: np.ndarray) -> np.ndarray:
    """All columns of the one-hot code ``[N, K]`` of labels ``[N]``, in their sorted order."""
    return (labels[:, None] == np.unique(labels)).astype(np.float64)
