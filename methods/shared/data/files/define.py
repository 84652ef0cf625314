"""Makes data sets in files known by name, as those are that regbench brings along."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import Data, Source, define, defined
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.strict import Loader, explain

# What was made known last under a name.
_last: dict[str, tuple[FileData, Source]] = {}


def define_files(name: str, spec: FileData) -> None:
    """Makes a data set in files known in this process; it is read when it is first loaded.

    Args:
        name: how it is called.
        spec: where it is, with absolute paths.

    Raises:
        ConfigError: the name is taken by one that is not in files.
    """

    def load(split: int = 0) -> Data:
        # pandas and scikit-learn take long to import.
        from regbench.methods.shared.data.files.reading import read

        return read(name, spec, split)

    help = f"{spec.label}" + (f", target {spec.target}" if spec.target else "")
    source = Source(name, help, None, load if spec.splits else lambda: load(), spec.tracks)
    define(source)
    _last[name] = spec, source


def define_all(files: Mapping[str, FileData]) -> None:
    """Makes all data sets in files of a suite known, by name; see ``define_files``."""
    for name, spec in files.items():
        define_files(name, spec)


def keep_files(name: str, spec: FileData) -> None:
    """Like ``define_files``, but what this process has read of the same files stays: for one trial after the other."""
    said, source = _last.get(name, (None, None))
    if said != spec or defined().get(name) is not source:
        define_files(name, spec)


def define_own(said: str | Mapping[str, Any]) -> str:
    """Makes a data set in files known under their name, from what a suite says of it; paths are relative to this folder.

    Args:
        said: a mapping, or one in YAML: ``{csv: wine.csv, target: quality}``.

    Returns:
        Its name.

    Raises:
        ConfigError: it is no such mapping, or the name is taken.
    """
    try:
        spec = FileData.model_validate(yaml.load(said, Loader) if isinstance(said, str) else said).resolved(Path())
    except yaml.YAMLError:
        raise ConfigError(f"data: {said} is not valid YAML") from None
    except ValidationError as error:
        raise ConfigError(f"data: {explain(error)}") from None
    name = spec.label.partition(".")[0]
    define_files(name, spec)
    return name
