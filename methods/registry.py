"""Finds methods: one public method a module, ``methods/<track>/<slug>.py``. A file dropped into place is found."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

import regbench.methods
from regbench.methods.errors import ConfigError, nearest
from regbench.methods.method import Method, Track
from regbench.methods.strict import explain

# The one folder that is no track.
SHARED = "regbench.methods.shared"


@cache
def all_methods() -> dict[str, type[Method]]:
    """Every method by slug, sorted by track, the track's baseline first, then by slug."""
    found: dict[str, type[Method]] = {}
    for module in _modules():
        found |= methods_in(module)
    return dict(sorted(found.items(), key=lambda item: (item[1].track.name, item[0] != item[1].track.baseline, item[0])))


def _modules() -> Iterator[str]:
    """The import name of every module of a track."""
    for package in pkgutil.iter_modules(regbench.methods.__path__, "regbench.methods."):
        if package.ispkg and package.name != SHARED:
            path = importlib.import_module(package.name).__path__
            yield from (module.name for module in pkgutil.iter_modules(path, f"{package.name}."))


def methods_in(module: str) -> dict[str, type[Method]]:
    """The methods defined in a module (by import name) whose class has a track and nothing left abstract."""
    members = vars(importlib.import_module(module)).values()
    classes = [m for m in members if isinstance(m, type) and issubclass(m, Method) and m.__module__ == module]
    return {cls.slug: cls for cls in classes if hasattr(cls, "track") and "paper" in vars(cls)}


def method_class(slug: str) -> type[Method]:
    """The method of that slug.

    Raises:
        ConfigError: there is none.
    """
    if (found := find_method(slug)) is None:
        raise ConfigError(f"unknown method '{slug}'; {nearest(slug, all_methods())}")
    return found


@cache
def find_method(slug: str) -> type[Method] | None:
    """The method of that slug, or None; imports its module alone."""
    found = (methods_in(module) for module in _modules() if module.rpartition(".")[2] == slug)
    return next((methods[slug] for methods in found if slug in methods), None)


def tracks() -> dict[str, Track]:
    """Every track that has a method, by name."""
    return {cls.track.name: cls.track for cls in all_methods().values()}


def create(slug: str, settings: Mapping[str, Any]) -> Method:
    """Builds a method from settings.

    Raises:
        ConfigError: unknown method, unknown setting (with the nearest known name), or a value out of range.
    """
    cls = method_class(slug)
    for name in settings:
        if name not in cls.model_fields:
            raise ConfigError(f"{slug} has no setting '{name}'; {nearest(name, cls.model_fields)}")
    try:
        return cls(**settings)
    except ValidationError as error:
        raise ConfigError(f"{slug}: {explain(error)}") from None
