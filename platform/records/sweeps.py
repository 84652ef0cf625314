"""The sweeps of a storage folder."""

from regbench.methods.errors import ConfigError, StorageError, nearest
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage, scrubbed


def sweep_names(storage: Storage) -> list[str]:
    """The names of the sweeps in a storage folder."""
    return [name for name in storage.names() if storage.exists(f"{name}/suite.json")]


def open_sweep(name: str, storage: Storage) -> Records:
    """The records of an existing sweep.

    Raises:
        ConfigError: there is none of that name.
    """
    records = Records(storage.child(name))
    if not records.storage.exists("suite.json"):
        where = f"no sweep '{name}' in {storage.uri}"
        if not storage.exists(""):
            raise ConfigError(f"{where}: there is no such folder; correct --storage")
        raise ConfigError(f"{where}; {nearest(name, sweep_names(storage))}")
    return records


def require_folder(storage: Storage) -> None:
    """Refuses a storage folder that is not there: to look into it is to have mistyped it.

    Raises:
        StorageError: it is not there.
    """
    if not storage.exists(""):
        raise StorageError(
            f"there is no folder {scrubbed(storage.uri, storage.uri)}: correct --storage, or start a sweep there"
        )
