"""The sweeps of a storage folder."""

from regbench.methods.errors import ConfigError, StorageError, nearest
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage, is_name, scrubbed
from regbench.platform.records.suite_file import FILE, DamagedSuiteError


def sweep_names(storage: Storage) -> list[str]:
    """The names of the sweeps in a storage folder, those included that have trials and no ``suite.json`` any more."""
    return [name for name in storage.names() if is_name(name) and is_sweep(storage, name)]


def is_sweep(storage: Storage, name: str) -> bool:
    """Whether a sweep of that name is in a storage folder, or what is left of one."""
    return storage.exists(f"{name}/{FILE}") or storage.exists(f"{name}/trials")


def open_sweep(name: str, storage: Storage) -> Records:
    """The records of an existing sweep.

    Raises:
        ConfigError: there is none of that name.
        DamagedSuiteError: it has trials, but no ``suite.json``.
    """
    records = Records(storage.child(name))
    if not records.storage.exists(FILE):
        if is_sweep(storage, name):
            raise DamagedSuiteError(records.storage, "is not there")
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
