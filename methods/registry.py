"""Finds methods: one public method a module, ``methods/<track>/<slug>.py``, and those of plugins. A file in place is found."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

import regbench.methods
from regbench.methods import plugins
from regbench.methods.errors import ConfigError, nearest
from regbench.methods.method import Method, Track
from regbench.methods.shared.data import sources
from regbench.methods.strict import explain

# The one folder that is no track.
SHARED = "shared"


@cache
def all_methods() -> dict[str, type[Method]]:
    """Every method by slug, sorted by track, the track's baseline first, then by slug.

    Raises:
        ConfigError: two have one slug.
    """
    found: dict[str, type[Method]] = {}
    for module in _modules():
        for slug, method in methods_in(module).items():
            if slug in found:
                raise ConfigError(f"two methods are called '{slug}': rename {module} or {found[slug].__module__}")
            found[slug] = method
    found |= _of_plugins()
    return dict(sorted(found.items(), key=lambda item: (item[1].track.name, item[0] != item[1].track.baseline, item[0])))


def _modules() -> Iterator[str]:
    """The import name of every module of a track."""
    for name in track_names():
        package = f"regbench.methods.{name}"
        path = importlib.import_module(package).__path__
        yield from (module.name for module in pkgutil.iter_modules(path, f"{package}."))


def track_names() -> list[str]:
    """The names of the product's own tracks."""
    packages = pkgutil.iter_modules(regbench.methods.__path__)
    return [package.name for package in packages if package.ispkg and package.name != SHARED]


def register(method: type[Method]) -> None:
    """Makes a method known in this process, in place of one that was registered so before.

    Raises:
        ConfigError: regbench or a plugin has one of that slug.
    """
    slug = method.slug
    plugins.own_methods.pop(slug, None)
    plugins.look_up_anew()
    if find_method(slug) is not None:
        raise ConfigError(f"there is a method called '{slug}' already; give yours another slug")
    plugins.own_methods[slug] = method
    plugins.look_up_anew()


def _of_plugins() -> dict[str, type[Method]]:
    """The methods of plugins, none of which may have another one's name, and those of this process.

    Raises:
        ConfigError: a name is taken, or a method belongs to a second track of one name.
    """
    found: dict[str, type[Method]] = {}
    for module in plugins.modules():
        name = module.__name__.removeprefix(f"{plugins.HOME}.")
        for slug, method in methods_in(module.__name__).items():
            if slug in found or any(own.rpartition(".")[2] == slug for own in _modules()):
                raise ConfigError(f"plugin {name}: there is a method called '{slug}' already; give yours another slug")
            track = method.track
            if track.name in track_names() and track is not own_track(track.name):
                raise ConfigError(f"plugin {name}: there is a track called '{track.name}' already; give yours another name")
            found[slug] = method
    return found | plugins.own_methods


def own_track(name: str) -> Track:
    """One of the product's own tracks.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in (known := track_names()):
        raise ConfigError(f"unknown track '{name}'; {nearest(name, known)}")
    track: Track = importlib.import_module(f"regbench.methods.{name}.task").TRACK
    return track


def methods_in(module: str) -> dict[str, type[Method]]:
    """The methods defined in a module or package (by import name) whose class has a track and nothing left abstract.

    Raises:
        ConfigError: two of them have one slug.
    """
    members = vars(importlib.import_module(module)).values()
    classes = [member for member in members if isinstance(member, type) and issubclass(member, Method)]
    own = [cls for cls in classes if f"{cls.__module__}.".startswith(f"{module}.")]
    public = [cls for cls in own if hasattr(cls, "track") and "paper" in vars(cls)]
    found = {cls.slug: cls for cls in public}
    if len(found) < len(set(public)):
        raise ConfigError(f"{module} has two methods of one slug: set the class variable `slug` of each")
    return found


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
    """The method of that slug, or None; imports its module alone, or all plugins where it is none of the product's."""
    found = (methods_in(module) for module in _modules() if module.rpartition(".")[2] == slug)
    return next((methods[slug] for methods in found if slug in methods), None) or _of_plugins().get(slug)


def tracks() -> dict[str, Track]:
    """Every track that has a method, by name."""
    return {cls.track.name: cls.track for cls in all_methods().values()}


def data_of(track: Track) -> list[str]:
    """The names of the data sets that fit a track: its own, then those of plugins that say so."""
    return list(dict.fromkeys([*track.data, *(name for name, source in sources().items() if track.name in source.tracks)]))


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
