"""Named data sets: ``load(name)`` returns fixed train, validation and test splits.

A data set is one function in one of this package's modules, decorated with ``dataset``. Embedded sets need no file; the others
are looked up under the folder that ``REGBENCH_DATA`` names. The modules are all imported to know the names: what takes long to
import, such as scikit-learn, loaders import themselves.

Splits are numbered, so that procedures can be compared on several: a loader with an argument ``split`` takes the number as the
seed of all that it draws; split 0 is the usual one. One without keeps a split that others have made, such as the official test
images of a public set, on which published figures are. What is drawn anew is the sample, with its noise; what the task is, such
as true coefficients or the classes that are known, stays, unless every problem has its own.
"""

import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from regbench.methods import plugins
from regbench.methods.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

KEPT = 8
"""How many data sets, each split counted, a process keeps of those loaded, and what has been derived from them."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in three splits, the same ones in every run with the same number of the split.

    A split is tensors, or any map-style dataset, which is read while it is used, as ``methods/shared/loading.py`` says.

    Attributes:
        name: its registered name.
        train: what methods learn from.
        validation: what tuning sees.
        test: what only confirmed configurations are judged on.
        meta: facts that models need, such as ``classes`` (int) and ``shape`` (of one input).
        pool: where splits of different numbers share rows, how many rows they are all drawn from: a row is in the test split
            of one of them with probability len(test) / pool. Of rows that are composed of others, as bags are of images, as
            many as make that the share of these. 0 where each split is a sample of its own, or there is only one.
    """

    name: str
    train: "TensorDataset | Any"
    validation: "TensorDataset | Any"
    test: "TensorDataset | Any"
    meta: Mapping[str, Any] = field(default_factory=dict)
    pool: int = 0


@dataclass(frozen=True)
class Source:
    """A registered data set: its name, what it is, the folder that it needs under ``REGBENCH_DATA`` (None: embedded).

    ``tracks`` are names of tracks that do not know it themselves and that it fits.
    """

    name: str
    help: str
    folder: str | None
    read: Callable[..., Data]
    tracks: tuple[str, ...] = ()

    @property
    def splits(self) -> bool:
        """Whether there are other splits than the usual one."""
        return "split" in inspect.signature(self.read).parameters


Loader = TypeVar("Loader", bound=Callable[..., Data])

_sources: dict[str, Source] = {}
# Those of one process, or of one suite.
_defined: dict[str, Source] = {}


def dataset(name: str, *, help: str, folder: str | None = None, tracks: Sequence[str] = ()) -> Callable[[Loader], Loader]:
    """Registers a function as the loader of a data set: one with an argument ``split: int = 0`` alone, or with none.

    Args:
        name: how suites call it.
        help: one line: what it is, how many rows, where it comes from.
        folder: the folder below ``REGBENCH_DATA`` that it reads; None when it needs no file.
        tracks: names of tracks that it fits, of a plugin's data set; the product's tracks name theirs.
    """

    def register(read: Loader) -> Loader:
        if name in _sources:
            raise ConfigError(f"two data sets are called '{name}': rename the one in {read.__module__}")
        _sources[name] = Source(name, help, folder, read, tuple(tracks))
        return read

    return register


def define(source: Source) -> None:
    """Makes a data set known in this process, or replaces one that was made known so before.

    Raises:
        ConfigError: regbench or a plugin has one of that name.
    """
    discover()
    if source.name in _sources:
        raise ConfigError(f"regbench has a data set called '{source.name}': give yours another name")
    _defined[source.name] = source
    _loaded.cache_clear()


def defined() -> dict[str, Source]:
    """The data sets that were made known in this process by ``define``, by name."""
    return dict(_defined)


def sources() -> dict[str, Source]:
    """All data sets by name, those of plugins and of this process included."""
    discover()
    plugins.modules()
    return dict(sorted((_sources | _defined).items()))


def load(name: str, split: int = 0) -> Data:
    """Loads a data set; a process keeps the last ones that it has loaded.

    Args:
        name: its registered name.
        split: the number of the split; 0 is the usual one, the only one of some data sets.

    Raises:
        ConfigError: there is no data set of that name, or none of its splits has that number.
        DataError: its files are missing or damaged.
    """
    known = sources()
    if name not in known:
        raise ConfigError(f"unknown data set '{name}'; {nearest(name, known)}")
    if split < 0:
        raise ConfigError(f"splits are numbered from 0: there is no split {split} of '{name}'")
    if split and not known[name].splits:
        raise ConfigError(
            f"data set '{name}' keeps the split that it is published with: leave out resplit, or take another one"
        )
    return _loaded(name, split)


@lru_cache(KEPT)
def _loaded(name: str, split: int) -> Data:
    source = sources()[name]
    return source.read(split) if source.splits else source.read()


def data_root() -> Path | None:
    """The folder that ``REGBENCH_DATA`` names, or None."""
    root = os.environ.get("REGBENCH_DATA")
    return Path(root).expanduser() if root else None


def require(folder: str, *files: str) -> list[Path]:
    """The paths of a data set's files below ``REGBENCH_DATA``.

    Raises:
        DataError: the variable is not set or a file is missing; says where to put it.
    """
    root = data_root()
    if root is None:
        raise DataError(f"data set '{folder}' needs files: set REGBENCH_DATA to a folder that holds {folder}/{files[0]}")
    paths = [root / folder / file for file in files]
    for path in paths:
        if not path.is_file():
            raise DataError(f"data set '{folder}' is not complete: put {path.name} into {path.parent}")
    return paths


def require_form(folder: str, *files: str) -> Path:
    """The first that is there of several files, each of which holds the data set in another form.

    Raises:
        DataError: the variable is not set or none of the files is there; says where to put one.
    """
    root = data_root()
    for file in files:
        if root is not None and (root / folder / file).is_file():
            return root / folder / file
    return require(folder, " or ".join(files))[0]


@cache
def discover() -> None:
    """Imports the modules of the product's own data sets, which registers them."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
