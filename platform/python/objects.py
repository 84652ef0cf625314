"""Data sets, methods and networks that exist in memory, known by name in this process and in the workers of its sweeps."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset

from regbench.methods import memory
from regbench.methods.errors import ConfigError, DataError
from regbench.methods.method import Method
from regbench.methods.shared.data import Data, Source

T = TypeVar("T")
Pair = tuple[Any, Any]


def data(
    name: str,
    train: Pair,
    validation: Pair | None = None,
    test: Pair | None = None,
    *,
    tracks: Sequence[str] | None = None,
    help: str = "",
) -> str:
    """Makes arrays known as a data set; returns its name.

    Args:
        name: how suites call it.
        train: inputs ``[N, …]`` and targets ``[N]``: tensors, arrays or what NumPy takes. Whole numbers are classes, from 0.
        validation: the same of the rows that tuning sees; without, a fifth of all rows, drawn by the number of the split.
        test: the same of the rows that only confirmed configurations are judged on; without, likewise.
        tracks: that it fits; by default classification where targets are whole numbers, else regression.
        help: one line: what it is.

    Raises:
        DataError: lengths differ, or numbers are not finite.
        ConfigError: regbench or a plugin has a data set of that name.
    """
    if (validation is None) != (test is None):
        raise DataError(f"{name}: give both validation and test, or neither")
    given = {
        part: _tensors(name, pair) for part, pair in (("train", train), ("validation", validation), ("test", test)) if pair
    }
    whole = not given["train"][1].is_floating_point()
    labels = torch.cat([y for _, y in given.values()])
    if whole and int(labels.min()) < 0:
        raise DataError(f"{name}: classes are numbered from 0, there is {int(labels.min())}")
    meta: dict[str, Any] = {"shape": tuple(given["train"][0].shape[1:])}
    if whole:
        meta["classes"] = int(labels.max()) + 1

    def fixed() -> Data:
        train, validation, test = (TensorDataset(*given[part]) for part in ("train", "validation", "test"))
        return Data(name, train, validation, test, meta)

    def drawn(split: int = 0) -> Data:
        x, y = given["train"]
        train, validation, test = (TensorDataset(x[rows], y[rows]) for rows in _draw(y, whole, split))
        return Data(name, train, validation, test, meta, pool=len(y))

    fitting = tuple(tracks or (("classification",) if whole else ("regression",)))
    memory.keep_data(Source(name, help or "in memory", None, drawn if test is None else fixed, fitting))
    return name


def _tensors(name: str, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = (torch.as_tensor(np.asarray(part) if not isinstance(part, torch.Tensor) else part) for part in pair)
    if len(x) != len(y):
        raise DataError(f"{name}: {len(x)} inputs, but {len(y)} targets")
    x, y = x.float(), y.float() if y.is_floating_point() else y.long()
    if not (x.isfinite().all() and y.isfinite().all()):
        raise DataError(f"{name}: inputs and targets must be finite numbers")
    return x, y


def _draw(y: torch.Tensor, whole: bool, split: int) -> list[np.ndarray]:
    """The rows of the three splits; classes alike in all."""
    rows, labels = np.arange(len(y)), y.numpy() if whole else None
    rest, test = train_test_split(rows, test_size=0.2, random_state=split, stratify=labels)
    kept, validation = train_test_split(
        rest, test_size=0.25, random_state=split, stratify=labels[rest] if labels is not None else None
    )
    return [kept, validation, test]


def register(thing: T, name: str | None = None) -> T:
    """Makes a method or a network known by name; returns it, so that it can stand above a class or function.

    Args:
        thing: a class of a method; or what builds a network, ``(shape, classes, **settings) -> nn.Module``; or a network, each
            training of which starts from the parameters that it has now.
        name: of a network, by default that of its function; of a method, by default its slug.

    Raises:
        ConfigError: regbench or a plugin has one of that name.
    """
    if isinstance(thing, type) and issubclass(thing, Method):
        before = thing.slug
        if name or before == thing.__module__.rpartition(".")[2]:
            thing.slug = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", thing.__name__).lower()
        try:
            memory.keep_method(thing)
        except ConfigError:
            thing.slug = before
            raise
    else:
        memory.keep_architecture(name or str(getattr(thing, "__name__", type(thing).__name__)), _factory(thing))
    return thing


def _factory(thing: Any) -> Callable[..., nn.Module]:
    if not isinstance(thing, nn.Module):
        return thing
    from copy import deepcopy

    kept = deepcopy(thing)

    def copy(shape: tuple[int, ...], classes: int) -> nn.Module:
        return deepcopy(kept)

    return copy
