"""What travels to a cluster: regbench's own code and the suite, ready to import, and nothing for pip to install there.

A wheel in a job's runtime environment would be installed with its dependencies, on every node, each time: gigabytes, and
impossible without a network. Dependencies belong into the nodes' image; the code is copied from wherever it is imported, so
that a checkout and an installed wheel are shipped alike.
"""

import shutil
from importlib.metadata import version
from pathlib import Path

import yaml

import regbench.clusters
import regbench.methods
import regbench.search_spaces
from regbench.methods import plugins
from regbench.methods.plugins import Plugin
from regbench.platform.records.plugins import describe
from regbench.platform.suite.spec import Suite

SUITE_FILE = "suite.yaml"
PLUGINS = "plugins"
PARTS = {
    "platform": Path(__file__).parent,
    "methods": Path(regbench.methods.__path__[0]),
    "search_spaces": Path(regbench.search_spaces.__path__[0]),
    "clusters": Path(regbench.clusters.__path__[0]),
}


def pack(folder: Path, suite: Suite) -> None:
    """Fills a folder with what the cluster imports and reads: the package, its version, this process's plugins, the suite.

    Raises:
        ConfigError: a plugin is too large to travel.
    """
    for name, source in PARTS.items():
        shutil.copytree(source, folder / "regbench" / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copy(Path(__file__).parent / "package" / "__init__.py", folder / "regbench")
    release = version("regbench")
    # For importlib.metadata, which the sweep asks for the version; without dependencies, since nothing is installed.
    metadata = folder / f"regbench-{release}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: regbench\nVersion: {release}\n", encoding="utf-8")
    shipped = suite.model_copy(update={"plugins": [_pack_plugin(folder, plugin) for plugin in plugins.active().values()]})
    text = yaml.safe_dump(shipped.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / SUITE_FILE).write_text(text, encoding="utf-8")


def _pack_plugin(folder: Path, plugin: Plugin) -> str:
    """Adds a plugin's code, if it travels; returns how the packed suite names it."""
    if not describe(plugin)["kept"]:
        return plugin.name
    # An installed package is found by its own name, beside regbench.
    target = folder / plugin.root.name if plugin.installed else folder / PLUGINS / plugin.root.name
    target.parent.mkdir(exist_ok=True)
    for path in plugins.files(plugin.root):
        copy = target / path.relative_to(plugin.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return plugin.name if plugin.installed else f"{PLUGINS}/{plugin.root.name}"
