"""The way to MLflow: where it is, whether it can be used, its client, and what goes wrong said in one line."""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from regbench.methods.errors import TrackingError
from regbench.platform.records.storage import Storage, scrubbed
from regbench.platform.tracking.moved import follow

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Kept where the user has set them. A dead server must be noticed in seconds: the records are safe without it.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def default_uri(storage: Storage) -> str:
    """The SQLite store beside the results.

    Raises:
        TrackingError: the results are not on this machine, where SQLite could be.
    """
    if storage.local is None:
        raise TrackingError(
            f"results in {scrubbed(storage.uri, storage.uri)} need an MLflow server: "
            "give its address with --tracking, or go without: --tracking none"
        )
    return sqlite_uri(storage.local / "mlflow.db")


def check(uri: str) -> None:
    """Makes sure that a tracking store can be used, within seconds.

    Raises:
        TrackingError: it is a file store, nothing answers there, or the database cannot be written.
    """
    if "://" not in uri or uri.startswith("file:"):
        raise TrackingError(f"MLflow no longer writes to folders such as {uri}: use sqlite:///FILE, or the address of a server")
    try:
        urlsplit(uri)
    except ValueError as error:
        raise TrackingError(f"--tracking is not an address: {error}") from None
    advice = "start the server, correct --tracking, or use --tracking none"
    if (database := sqlite_file(uri)) is None:
        with explained(uri, advice):
            connect(uri).search_experiments(max_results=1)
        return
    # Without MLflow, whose import takes seconds.
    try:
        _check_database(database)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(uri, error, advice) from None


def _check_database(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    if not database.exists():
        # Not by opening it: an empty database would pass for one that MLflow has made.
        with tempfile.TemporaryFile(dir=database.parent):
            return
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def connect(uri: str) -> "MlflowClient":
    """A client of the store at an address; a SQLite database that is not there is made."""
    import_mlflow(uri)
    from mlflow import MlflowClient

    if (database := sqlite_file(uri)) is not None:
        if not database.exists():
            _create_database(database)
        follow(database)
    return MlflowClient(tracking_uri=uri)


def import_mlflow(uri: str) -> None:
    """Imports what a client of an address needs, which takes seconds, with our settings."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    if sqlite_file(uri) is not None:
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    # After the import, which sets levels of its own. What they take for an error, such as a full disk, we say in one line.
    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def _create_database(database: Path) -> None:
    """Has MLflow make its tables under another name: a database in which it was killed doing that can never be used again."""
    from mlflow import MlflowClient

    partial = database.with_name(f".{database.name}.{os.getpid()}")
    database.parent.mkdir(parents=True, exist_ok=True)
    try:
        MlflowClient(tracking_uri=sqlite_uri(partial)).search_experiments(max_results=1)
        # Another process may have made it by now: its content stays.
        os.link(partial, database)
    except FileExistsError:
        pass
    except OSError:
        # There are no hard links here.
        partial.replace(database)
    finally:
        partial.unlink(missing_ok=True)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, None for another kind."""
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if "%" in path:
        # Its versions read this in two ways.
        from sqlalchemy import make_url

        path = make_url(uri).database or path
    return Path(path).absolute()


def sqlite_uri(file: Path) -> str:
    """The address of a SQLite store in a file.

    Raises:
        TrackingError: there is no address for a file of that name.
    """
    uri = f"sqlite:///{file}"
    if not {"%", "?"} & set(uri):
        return uri
    from sqlalchemy import URL, make_url

    uri = URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)
    if make_url(uri).database != str(file):
        raise TrackingError(f"MLflow cannot keep its database in {file.parent}: rename the folder, or use --tracking")
    return uri


@contextmanager
def explained(uri: str, advice: str) -> Iterator[None]:
    """Turns what MLflow and its database raise into one line that says what to do.

    Raises:
        TrackingError: in place of what they raise.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        raise _unusable(uri, error, advice) from None


def _unusable(uri: str, error: BaseException, advice: str) -> TrackingError:
    reason = scrubbed(str(_cause(error)), uri)
    return TrackingError(f"MLflow at {scrubbed(uri, uri)} cannot be used: {reason[:300]}; {advice}")


def _cause(error: BaseException) -> BaseException:
    """What went wrong at the bottom, such as a refused connection, where the error tells."""
    found, seen = error, error
    while (deeper := seen.__cause__ or seen.__context__) is not None:
        seen = deeper
        if isinstance(seen, OSError | sqlite3.Error):
            found = seen
    return found
