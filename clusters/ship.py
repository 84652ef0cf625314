"""A folder on its way to the nodes of a cluster, and the variables that go with it."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

from regbench.clusters.environment import ENVIRONMENT_FILE
from regbench.clusters.kinds import Cluster
from regbench.methods.errors import ConfigError


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
    """Adds the values that the nodes take over, readable by this user only."""
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
