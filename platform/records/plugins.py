"""The plugins that a sweep is run with: kept with its records by content, so that every node and every later run has them.

A file or folder is always kept. Of an installed package, one that is pure Python and at most ``PACKAGE_BYTES`` large is; a
larger one, or one with compiled parts, must be installed in the same state wherever the sweep is run.
"""

import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from regbench.methods import plugins
from regbench.methods.errors import ConfigError, SurroundingsError
from regbench.methods.plugins import Plugin
from regbench.platform.records.storage import Storage

FOLDER = "plugins"
PACKAGE_BYTES = 1 << 20
FOLDER_BYTES = 10 << 20
COMPILED = (".so", ".pyd", ".dylib", ".dll")

Described = dict[str, Any]


def describe(plugin: Plugin) -> Described:
    """A plugin as JSON-ready facts for ``suite.json``.

    Raises:
        ConfigError: it is a file or folder of more than ``FOLDER_BYTES``.
    """
    size = sum(path.stat().st_size for path in plugins.files(plugin.root))
    compiled = any(path.suffix in COMPILED for path in plugins.files(plugin.root))
    if not plugin.installed and size > FOLDER_BYTES:
        raise ConfigError(
            f"plugin {plugin.name} has {size >> 20} MiB, and it travels with the sweep: keep data elsewhere, at most "
            f"{FOLDER_BYTES >> 20} MiB"
        )
    kept = not plugin.installed or (size <= PACKAGE_BYTES and not compiled)
    return {
        "name": plugin.name,
        "module": plugin.module,
        "root": str(plugin.root),
        "digest": plugin.digest,
        "kept": kept,
        "version": plugins.version(plugin),
    }


def keep(storage: Storage, described: Sequence[Described]) -> None:
    """Writes the code of this process's plugins into a sweep's folder, where that is not there yet."""
    for facts in described:
        plugin = plugins.active().get(facts["name"])
        if plugin and facts["kept"] and plugin.digest == facts["digest"] and not storage.exists(_file(facts)):
            storage.write(_file(facts), _zipped(plugin.root))


def taken_up(
    storage: Storage, recorded: Sequence[Described], *, grown: bool, accept: bool
) -> tuple[list[Described], list[str]]:
    """The plugins with which a sweep goes on, made known here, and what has changed of them, one short text each.

    A plugin that this process has, or that is still where it was, is compared with what the sweep was run with.

    Args:
        storage: the sweep's folder.
        recorded: what ``suite.json`` holds.
        grown: whether the sweep may get plugins that it did not have.
        accept: go on with what a plugin is now.

    Raises:
        RegbenchError: one has changed, and that is not accepted; or what ``activate_kept`` raises.
    """
    found, changes = [], []
    for facts in recorded:
        now = plugins.active().get(facts["name"]) or _still_there(facts)
        if now is None or now.digest == facts["digest"]:
            found.append(facts)
        elif accept:
            plugins.activate(now)
            found.append(describe(now))
            changes.append(f"plugin {now.name} {facts['digest'][:10]} → {now.digest[:10]}")
        else:
            raise ConfigError(
                f"plugin {now.name} ({now.root}) is not what this sweep was run with: with --accept-changed-plugin, "
                "what is left is trained with what it is now; what has run stays"
            )
    names = {facts["name"] for facts in found}
    new = [describe(plugin) for name, plugin in plugins.active().items() if grown and name not in names]
    activate_kept(storage, found + new)
    return found + new, changes + [f"plugins + {facts['name']}" for facts in new]


def _still_there(facts: Mapping[str, Any]) -> Plugin | None:
    try:
        return plugins.find(facts["module"] if facts["module"] == facts["name"] else facts["root"])
    except ConfigError:
        return None


def activate_kept(storage: Storage, recorded: Sequence[Mapping[str, Any]]) -> None:
    """Makes the plugins of a sweep known in this process, as they were recorded, wherever it runs.

    Args:
        storage: the sweep's folder.
        recorded: what ``suite.json`` holds.

    Raises:
        ConfigError: this process has loaded another plugin of one's name, or another state of it.
        SurroundingsError: a package that does not travel is missing here, or is in another state.
        StorageError: the code cannot be read.
    """
    for facts in recorded:
        here = plugins.active().get(facts["name"])
        if here is not None and here.digest == facts["digest"]:
            continue
        plugin = Plugin(facts["name"], facts["module"], _unpacked(storage, facts), facts["digest"]) if facts["kept"] else None
        if plugin is None:
            plugin = _installed(facts)
        elif plugin.installed:
            sys.path.insert(0, str(plugin.root.parent))
        plugins.activate(plugin)


def _installed(facts: Mapping[str, Any]) -> Plugin:
    wanted = f"{facts['name']}{' ' + facts['version'] if facts.get('version') else ''}"
    try:
        found = plugins.find(facts["name"])
    except ConfigError:
        raise SurroundingsError(
            f"plugin {wanted} is not installed here, and too large or compiled, so that it does not travel: install it on "
            "every node"
        ) from None
    if found.digest != facts["digest"]:
        raise SurroundingsError(f"plugin {wanted} is installed here in another state than the sweep was run with")
    return found


def _file(facts: Mapping[str, Any]) -> str:
    return f"{FOLDER}/{facts['name']}-{facts['digest'][:16]}.zip"


def _zipped(root: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in plugins.files(root):
            archive.write(path, path.relative_to(root.parent))
    return buffer.getvalue()


def _unpacked(storage: Storage, facts: Mapping[str, Any]) -> Path:
    """A plugin's file or folder, from what the sweep keeps, in the user's cache."""
    home = platformdirs.user_cache_path("regbench") / FOLDER / facts["digest"]
    root = home / Path(facts["root"]).name
    if not root.exists():
        try:
            content = storage.read(_file(facts))
        except FileNotFoundError:
            raise ConfigError(f"{storage.uri}/{_file(facts)} is missing: name the plugin with --plugin") from None
        home.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may do the same at once.
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".") as partial:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(partial)
            try:
                os.rename(partial, home)  # noqa: PTH104 - of a folder that must not be there yet
                Path(partial).mkdir()
            except OSError:
                pass
    if plugins.digest(root, code_only=facts["name"] == facts["module"]) != facts["digest"]:
        raise ConfigError(f"plugin {facts['name']} in {root} is damaged: delete that folder")
    return root
