"""A SQLite store that was moved or copied together with its artifacts: MLflow keeps full paths, which then lead elsewhere."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlartifacts"


def artifacts_in(folder: Path) -> str:
    """Where artifacts go that are kept in a folder, as an address."""
    return (folder / ARTIFACTS).as_uri()


def follow(database: Path) -> None:
    """Makes our experiments, and their runs, look for artifacts beside the database, where they have always been put.

    Where none are beside it, but still where they were, only the database was moved: then the paths stay.

    Args:
        database: of MLflow.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    now = artifacts_in(database.parent)
    with closing(sqlite3.connect(database)) as connection, connection:
        places = connection.execute(
            "SELECT experiment_id, artifact_location FROM experiments WHERE name LIKE 'regbench/%' AND artifact_location <> ?",
            (now,),
        ).fetchall()
        for experiment, before in places:
            if not _ours(before) or (_folder(before).is_dir() and not _folder(now).is_dir()):
                continue
            connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, experiment))
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (now, len(before) + 1, experiment, len(before) + 1, f"{before}/"),
            )


def _ours(location: str) -> bool:
    """Whether a place has the name that we give to places of artifacts."""
    return location.startswith("file:") and location.rpartition("/")[2] == ARTIFACTS


def _folder(location: str) -> Path:
    return Path(unquote(urlsplit(location).path))
