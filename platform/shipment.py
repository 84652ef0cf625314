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
from regbench.platform.suite.spec import Suite

SUITE_FILE = "suite.yaml"
PARTS = {
    "platform": Path(__file__).parent,
    "methods": Path(regbench.methods.__path__[0]),
    "search_spaces": Path(regbench.search_spaces.__path__[0]),
    "clusters": Path(regbench.clusters.__path__[0]),
}


def pack(folder: Path, suite: Suite) -> None:
    """Fills a folder with what the cluster imports and reads: the package, its version, the suite."""
    for name, source in PARTS.items():
        shutil.copytree(source, folder / "regbench" / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    release = version("regbench")
    # For importlib.metadata, which the sweep asks for the version; without dependencies, since nothing is installed.
    metadata = folder / f"regbench-{release}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: regbench\nVersion: {release}\n", encoding="utf-8")
    text = yaml.safe_dump(suite.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / SUITE_FILE).write_text(text, encoding="utf-8")
