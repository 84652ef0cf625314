"""``suite.json``, which holds a sweep's suite, its studies and its origin: read with care, since people copy and edit files."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from regbench.methods.errors import StorageError
from regbench.platform.records.storage import Storage, scrubbed
from regbench.platform.records.tables import SCHEMA_VERSION

FILE = "suite.json"


class DamagedSuiteError(StorageError):
    """The file of a sweep's suite is missing, empty, cut, or something else."""

    def __init__(self, storage: Storage, reason: str) -> None:
        where = f"{scrubbed(storage.uri, storage.uri)}/{FILE}"
        again = f"regbench sweep SUITE --name {storage.name} --continue"
        super().__init__(f"{where} {reason}: the trials are safe; with the suite's own file, `{again}` writes it anew")


_Count = Annotated[int, Field(ge=1)]


class _Confirm(TypedDict, total=False):
    seeds: Annotated[int, Field(ge=0)]
    first_seed: int
    ablate: bool


class _Suite(TypedDict, total=False):
    name: str
    description: str
    methods: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    trials: _Count
    sampler: dict[str, Any]
    scheduler: dict[str, Any]
    confirm: _Confirm


class _Study(TypedDict, total=False):
    entry: str
    method: str
    track: str
    data: str
    fixed: dict[str, Any]
    space: dict[str, str]
    settings: dict[str, Any]
    trials: _Count
    draws: _Count
    learning_rounds: int | None
    objectives: list[str]
    modes: list[Literal["max", "min"]]
    weights: list[str]


class _Provenance(TypedDict, total=False):
    started: datetime


class _Plugin(TypedDict):
    name: str
    module: str
    root: str
    digest: str
    kept: bool
    version: str | None


class _Content(TypedDict, total=False):
    schema: str
    id: str
    suite: _Suite
    studies: list[_Study]
    provenance: _Provenance
    resumed: list[dict[str, Any]]
    plugins: list[_Plugin]
    files: dict[str, str]
    memory: list[str]


_CONTENT = TypeAdapter(_Content)


def read_suite_file(storage: Storage, *required: str) -> dict[str, Any]:
    """What ``suite.json`` holds.

    Args:
        storage: the sweep's folder.
        *required: keys that must be there; others may be missing, as in files of other versions.

    Raises:
        DamagedSuiteError: it is not there, or holds something else.
        StorageError: a newer version of regbench wrote it.
    """
    try:
        text = storage.read(FILE)
        content: dict[str, Any] = json.loads(text)
        if isinstance(content, dict):
            _refuse_newer(content, storage)
        _CONTENT.validate_json(text, strict=True)
    except FileNotFoundError:
        raise DamagedSuiteError(storage, "is not there") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedSuiteError(storage, f"holds something else{place and f' at {place}'}") from None
    except (ValueError, RecursionError):
        raise DamagedSuiteError(storage, "is empty, or cut, or no JSON") from None
    if missing := [key for key in required if key not in content]:
        raise DamagedSuiteError(storage, f"has no '{missing[0]}'")
    return content


def _refuse_newer(content: dict[str, Any], storage: Storage) -> None:
    schema = content.get("schema")
    if isinstance(schema, str) and schema.isdecimal() and int(schema) > int(SCHEMA_VERSION):
        provenance = content.get("provenance")
        version = provenance.get("regbench", "?") if isinstance(provenance, dict) else "?"
        raise StorageError(
            f"{scrubbed(storage.uri, storage.uri)}/{FILE} was written by a newer regbench ({version}, schema {schema}, not "
            f"{SCHEMA_VERSION}): install that version"
        )
