"""What travels to a cluster: regbench's own code and the suite, ready to import, and nothing for pip to install there.

A wheel in a job's runtime environment would be installed with its dependencies, on every node, each time: gigabytes, and
impossible without a network. Dependencies belong into the nodes' image; the code is copied from wherever it is imported, so
that a checkout and an installed wheel are shipped alike.
"""

import hashlib
import io
import json
import os
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

import regbench.clusters
import regbench.methods
import regbench.search_spaces
from regbench.methods.errors import ConfigError
from regbench.platform.cluster import QUIET
from regbench.platform.clusters import Cluster
from regbench.platform.job import ENVIRONMENT_FILE
from regbench.platform.spec import Suite

SUITE_FILE = "suite.yaml"
PARTS = {
    "platform": Path(__file__).parent,
    "methods": Path(regbench.methods.__path__[0]),
    "search_spaces": Path(regbench.search_spaces.__path__[0]),
    "clusters": Path(regbench.clusters.__path__[0]),
}
# `ray job stop` kills after 3 seconds by default; a sweep that is interrupted first writes what it knows.
GRACEFUL = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}


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


def passed_on(cluster: Cluster) -> dict[str, str]:
    """The environment variables that a cluster file names, with their values here.

    Raises:
        ConfigError: one is not set.
    """
    for name in cluster.environment:
        if name not in os.environ:
            raise ConfigError(
                f"the cluster file passes {name} on, but it is not set here: export it, or take it off `environment`"
            )
    return {name: os.environ[name] for name in cluster.environment}


def add_environment(folder: Path, values: dict[str, str]) -> None:
    """Adds the values that ``regbench.platform.job`` takes over, readable by this user only."""
    path = folder / ENVIRONMENT_FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(values), encoding="utf-8")


def zipped(folder: Path) -> tuple[str, bytes]:
    """A folder as a zip file with one folder at its top, as Ray expects it at a URI: a name made of its digest, its content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            # A fixed date: the same code makes the same file.
            archive.writestr(zipfile.ZipInfo(f"regbench-code/{path.relative_to(folder)}"), path.read_bytes())
    content = buffer.getvalue()
    return f"{hashlib.sha256(content).hexdigest()[:16]}.zip", content


def node_variables(cluster: Cluster) -> dict[str, str]:
    """Environment variables without secrets for every process of the sweep on the cluster."""
    return QUIET | GRACEFUL | ({"REGBENCH_DATA": cluster.data} if cluster.data else {})


def runtime_environment(cluster: Cluster, working_dir: str) -> dict[str, Any]:
    """The runtime environment of the cluster's job, with the code in ``working_dir``."""
    return {
        "working_dir": working_dir,
        "env_vars": node_variables(cluster),
        "worker_process_setup_hook": "regbench.platform.job.enter",
    }
