"""Plugins: modules of a user's own that register methods, data sets, architectures, metrics and tracks.

A plugin is a Python file, a folder that is a package, or an importable module; installed packages name theirs in the
entry-point group ``regbench.plugins``. It is found without being imported, told apart by the digest of its code, and imported
when names are first looked up. What it registers is what the product's own modules register, in the same way.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from regbench.methods.errors import ConfigError, SurroundingsError

GROUP = "regbench.plugins"
# Files and folders are imported below this name, which no other package has.
HOME = "regbench_plugins"


@dataclass(frozen=True)
class Plugin:
    """A plugin that has been found.

    Attributes:
        name: of the file or folder without ending, or the import name of an installed module.
        module: what it is imported as.
        root: its file or folder; of an installed module, those of the package that it belongs to.
        digest: of the code below ``root``, 64 hexadecimal digits.
    """

    name: str
    module: str
    root: Path
    digest: str

    @property
    def installed(self) -> bool:
        """Whether it is a module of an installed package."""
        return self.name == self.module


def find(reference: str, base: Path = Path()) -> Plugin:
    """A plugin, from how a suite or a command names it.

    Args:
        reference: a path that ends in ``.py`` or leads to a package's folder, or the name of an importable module.
        base: what a path is relative to.

    Raises:
        ConfigError: there is no such file, folder or module.
    """
    path = base / Path(reference).expanduser()
    if path.suffix == ".py" or path.is_dir() or "/" in reference:
        return _at(path.resolve(), reference)
    top = reference.partition(".")[0]
    found = importlib.util.find_spec(top) if re.fullmatch(r"\w+(\.\w+)*", reference) else None
    if found is None or found.origin is None:
        raise ConfigError(f"no plugin '{reference}': it is neither a .py file, nor a folder, nor a module that can be imported")
    root = Path(found.origin)
    root = root.parent if found.submodule_search_locations else root
    # Its compiled parts and data may be large; they come with the same installation.
    return Plugin(reference, reference, root, digest(root, code_only=True))


def _at(path: Path, reference: str) -> Plugin:
    code = path / "__init__.py" if path.is_dir() else path
    if not code.is_file():
        what = f"the folder has no {code.name}" if path.is_dir() else "there is no such file"
        raise ConfigError(f"plugin {reference}: {what} ({code})")
    if not path.stem.isidentifier():
        raise ConfigError(f"plugin {reference}: '{path.stem}' is no name of a Python module; rename it")
    return Plugin(path.stem, f"{HOME}.{path.stem}", path, digest(path))


def files(root: Path) -> Iterator[Path]:
    """The files of a plugin: one, or all in a folder but what Python and editors leave there."""
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def digest(root: Path, *, code_only: bool = False) -> str:
    """Of a plugin's code and, unless that alone is wanted, of what lies beside it."""
    found = hashlib.sha256()
    for path in files(root):
        if code_only and path.suffix != ".py":
            continue
        content = path.read_bytes()
        found.update(f"{path.relative_to(root.parent)} {len(content)}\n".encode() + content)
    return found.hexdigest()


_active: dict[str, Plugin] = {}
_imported: dict[str, ModuleType] = {}
# Methods that exist in this process only, by slug; see ``regbench.methods.memory``.
own_methods: dict[str, Any] = {}


def activate(*plugins: Plugin) -> None:
    """Makes plugins' names known in this process, besides those of installed packages.

    Raises:
        ConfigError: another one has the same name, or it has changed since it was imported here.
    """
    for plugin in plugins:
        before = active().get(plugin.name)
        if before is None:
            _active[plugin.name] = plugin
            look_up_anew()
        elif before.digest == plugin.digest:
            continue
        elif before.root == plugin.root or before.installed:
            raise ConfigError(f"plugin {plugin.name} has changed since this process loaded it: start again")
        else:
            raise ConfigError(f"two plugins are called '{plugin.name}': {before.root} and {plugin.root}; rename one")


def use(references: Iterable[str], base: Path) -> list[str]:
    """Finds plugins and makes them active; returns references that mean the same from anywhere.

    Raises:
        ConfigError: one is not there, or has another one's name.
    """
    found = [find(reference, base) for reference in references]
    activate(*found)
    return [plugin.name if plugin.installed else str(plugin.root) for plugin in found]


def active() -> dict[str, Plugin]:
    """The plugins of this process by name: those of installed packages, then those activated."""
    return _installed() | _active


@cache
def _installed() -> dict[str, Plugin]:
    return {entry.value: find(entry.value) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.value)}


def state() -> str:
    """Which plugins are active, in which state: "" without any, else 16 hexadecimal digits."""
    lines = [f"{plugin.name} {plugin.digest}\n" for plugin in active().values()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else ""


def look_up_anew() -> None:
    """Lets names be looked up anew."""
    from regbench.methods import registry

    registry.all_methods.cache_clear()
    registry.find_method.cache_clear()


def modules() -> list[ModuleType]:
    """Every active plugin's module, imported.

    Raises:
        ConfigError: it raises an error, or its names are taken.
        SurroundingsError: it needs a package that is not installed.
    """
    for plugin in active().values():
        if plugin.name not in _imported:
            _imported[plugin.name] = _import(plugin)
            look_up_anew()
    return list(_imported.values())


def _import(plugin: Plugin) -> ModuleType:
    # What the product has comes first: a plugin must not take its names.
    importlib.import_module("regbench.methods.shared.data").discover()
    try:
        return importlib.import_module(plugin.module) if plugin.installed else _import_file(plugin)
    except ModuleNotFoundError as error:
        raise SurroundingsError(f"plugin {plugin.name} needs {error.name}, which is not installed here") from error
    except ConfigError as error:
        raise ConfigError(f"plugin {plugin.name}: {error}") from None
    except Exception as error:
        place = _line(error, plugin.root)
        raise ConfigError(f"plugin {plugin.name} cannot be imported{place}: {type(error).__name__}: {error}") from error


def _import_file(plugin: Plugin) -> ModuleType:
    sys.modules.setdefault(HOME, ModuleType(HOME))
    folder = plugin.root.is_dir()
    code = plugin.root / "__init__.py" if folder else plugin.root
    locations = [str(plugin.root)] if folder else None
    spec = importlib.util.spec_from_file_location(plugin.module, code, submodule_search_locations=locations)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[plugin.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[plugin.module]
        raise
    return module


def _line(error: Exception, root: Path) -> str:
    """Where in a plugin's own code an error was raised."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    trace, found = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file == root or root in file.parents:
            found = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def version(plugin: Plugin) -> str | None:
    """Of the package that an installed plugin belongs to, where it tells one."""
    if not plugin.installed:
        return None
    try:
        from importlib.metadata import packages_distributions, version

        (distribution, *_) = packages_distributions()[plugin.name.partition(".")[0]]
        return version(distribution)
    except (KeyError, PackageNotFoundError):
        return None
