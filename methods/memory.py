"""Methods, networks and data sets that exist in one process only: known by name there, and in the workers that it starts."""

from collections.abc import Callable
from typing import Any

import cloudpickle

from regbench.methods import registry
from regbench.methods.errors import ConfigError
from regbench.methods.method import Method
from regbench.methods.shared import factories
from regbench.methods.shared.data import Source, define

_objects: dict[str, dict[str, Any]] = {"methods": {}, "architectures": {}, "data": {}}


def keep_method(method: type[Method]) -> None:
    """Makes a method known by its slug, in place of one that was kept so before.

    Raises:
        ConfigError: regbench or a plugin has one of that slug.
    """
    registry.register(method)
    _objects["methods"][method.slug] = method


def keep_architecture(name: str, factory: Callable[..., Any]) -> None:
    """Makes a network's factory known by name, in place of one that was kept so before; see ``factories``.

    Raises:
        ConfigError: a plugin has one of that name.
    """
    if name in _objects["architectures"]:
        factories.forget(name)
    factories.architecture(name)(factory)
    _objects["architectures"][name] = factory


def keep_data(source: Source) -> None:
    """Makes a data set known by its name, in place of one that was kept so before.

    Raises:
        ConfigError: regbench or a plugin has one of that name.
    """
    define(source)
    _objects["data"][source.name] = source


def names() -> list[str]:
    """The names of all that is kept, sorted."""
    return sorted(name for kind in _objects.values() for name in kind)


def pickled() -> bytes | None:
    """All that is kept, for a worker of the same machine; None where there is nothing.

    Raises:
        ConfigError: something cannot be sent.
    """
    if not names():
        return None
    try:
        content: bytes = cloudpickle.dumps(_objects)
    except Exception as error:
        raise ConfigError(
            f"{', '.join(names())} cannot be sent to worker processes ({error}): use execution inline, or a plugin's file"
        ) from None
    return content


def restore(content: bytes | None) -> None:
    """Makes known in a worker what ``pickled`` holds."""
    if content is None:
        return
    objects = cloudpickle.loads(content)
    for method in objects["methods"].values():
        keep_method(method)
    for name, factory in objects["architectures"].items():
        keep_architecture(name, factory)
    for source in objects["data"].values():
        keep_data(source)
