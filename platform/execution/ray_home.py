"""Where a private Ray cluster puts its files on this machine, and what to do where it cannot."""

import errno
import os
import secrets
import tempfile
from pathlib import Path

# Of a session's longest path below the folder that Ray is given; sockets are files whose paths the system limits.
SOCKET = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.99")
LONGEST_SOCKET = 107
# Where there is room for short names.
SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def ray_folder() -> str | None:
    """The folder for Ray's files where the one of temporary files would not do; None where it does, or no other does either.

    One that is meant for Ray alone, ``RAY_TMPDIR``, is not passed over: Ray says what is wrong with it.
    """
    if os.environ.get("RAY_TMPDIR") or _usable(os.environ.get("TMPDIR") or SHORT[0]):
        return None
    return next((f"{folder}/ray" for folder in SHORT if _usable(folder)), None)


def _usable(folder: str) -> bool:
    if len(os.fsencode(folder)) + SOCKET > LONGEST_SOCKET:
        return False
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            # Something is written: on a full disk, an empty file would still be made.
            probe.write(bytes(4096))
            probe.flush()
    except OSError:
        return False
    return True


def keep_token() -> None:
    """Gives this process and its children a token for Ray where the home, in which Ray would keep it, cannot be written."""
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    folder = Path(os.environ.get("HOME", "/")) / ".ray"
    if (folder / "auth_token").is_file():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def advice(error: BaseException) -> str:
    """What to do where Ray does not start."""
    text, number = str(error), getattr(error, "errno", None)
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or SHORT[0]
    if number in (errno.ENOSPC, errno.EDQUOT) or any(words in text for words in ("No space left", "object store memory")):
        return f"make room in {folder} and /dev/shm, or set RAY_TMPDIR to another folder"
    if "AF_UNIX" in text:
        return f"set RAY_TMPDIR to a folder whose path has at most {LONGEST_SOCKET - SOCKET} characters"
    if isinstance(error, OSError) and number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        return "let it be written, or set RAY_TMPDIR and HOME to folders that can be"
    if number == errno.ENOMEM or "timed out" in text or "imeout" in text:
        return "free its memory and processors, then try again"
    return f"see {folder}/ray/session_latest/logs"
