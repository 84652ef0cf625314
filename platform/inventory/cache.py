"""Facts that follow from the code alone, kept in the user's cache folder under a key of the code's state: never stale."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import platformdirs
from pydantic import BaseModel, ValidationError

import regbench.methods
import regbench.search_spaces

FOLDERS = (Path(__file__).parents[1], *(Path(part.__path__[0]) for part in (regbench.methods, regbench.search_spaces)))
# Of several versions of the code that are in use at once.
VERSIONS_KEPT = 5

Facts = TypeVar("Facts", bound=BaseModel)


def remembered(name: str, kind: type[Facts], make: Callable[[], Facts]) -> Facts:
    """What ``make`` makes of the code, from the cache where it was made of the same code before.

    A cache that cannot be read or written costs time and nothing else.

    Args:
        name: of the facts, a valid file name.
        kind: their model.
        make: makes them.
    """
    path = _folder() / f"{name}.json"
    with suppress(OSError, ValidationError):
        return kind.model_validate_json(path.read_bytes())
    facts = make()
    with suppress(OSError):
        _write(path, facts.model_dump_json().encode())
    return facts


def _write(path: Path, content: bytes) -> None:
    new = not path.parent.is_dir()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may write the same at once.
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    Path(partial).replace(path)
    if new:
        versions = sorted(path.parent.parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for old in versions[VERSIONS_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


@cache
def _folder() -> Path:
    """The cache folder of this state of the code: the names, sizes and times of its files."""
    state = hashlib.sha256(sys.version.encode())
    for folder in FOLDERS:
        for line in sorted(_files(folder)):
            state.update(f"{folder} {line}\n".encode())
    return platformdirs.user_cache_path("regbench") / "facts" / state.hexdigest()[:16]


def _files(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(Path(entry.path))
            else:
                found = entry.stat()
                yield f"{entry.path} {found.st_size} {found.st_mtime_ns}"
