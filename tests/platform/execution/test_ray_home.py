"""Ray starts wherever it can: with a long TMPDIR, without a home; and where it cannot, what is wrong is said."""

import errno
import os
import subprocess
import sys

import pytest
from ray._private.utils import validate_socket_filepath

from regbench.platform.execution.ray_home import LONGEST_SOCKET, SOCKET, advice, keep_token, ray_folder


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_the_longest_folder_is_the_longest_that_ray_takes():
    name = "/ray/session_2026-11-30_14-20-40_233402_4194304/sockets/plasma_store.99"
    validate_socket_filepath("x" * (LONGEST_SOCKET - SOCKET) + name)
    with pytest.raises(OSError, match="AF_UNIX"):
        validate_socket_filepath("x" * (LONGEST_SOCKET - SOCKET + 1) + name)


def test_folders_that_do_are_left_to_ray(tmp_path, monkeypatch):
    assert ray_folder() is None
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert ray_folder() is None


@pytest.mark.parametrize("name", ["x" * 90, "ü" * 45, "a file"])
def test_others_are_replaced_by_a_short_one(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    if name == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    assert ray_folder() == "/tmp/ray"
    # Whoever names one for Ray is told what is wrong with it.
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    assert ray_folder() is None


def test_a_home_that_cannot_be_written_needs_no_token_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    # Taken back at the end of the test.
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    keep_token()
    assert len(token := os.environ["RAY_AUTH_TOKEN"]) == 64
    keep_token()
    assert os.environ["RAY_AUTH_TOKEN"] == token


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "make room in /tmp and /dev/shm"),
        (ValueError("cap object store memory usage at 1 bytes, but the minimum allowed is"), "make room in /tmp and /dev/shm"),
        (PermissionError(errno.EACCES, "Permission denied", "/tmp/ray"), "set RAY_TMPDIR and HOME"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/nope"), "set RAY_TMPDIR and HOME"),
        (OSError(errno.EROFS, "Read-only file system"), "set RAY_TMPDIR and HOME"),
        (OSError("AF_UNIX path length cannot exceed 107 bytes"), "at most"),
        (RuntimeError("something else"), "see /tmp/ray/session_latest/logs"),
        (Exception("The current node timed out during startup."), "free its memory"),
    ],
)
def test_advice_is_about_the_cause(error, says):
    found = advice(error)
    assert says in found
    assert ("memory" in found) == ("timed out" in str(error))


def test_a_cluster_starts_with_a_long_temporary_folder_and_without_a_home(tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    (tmp_path / "file").write_text("")
    code = "from regbench.platform.execution.ray_cluster import *\nwith cluster(cpus=1, gpus=0) as found: print(found['CPU'])"
    environment = os.environ | {"TMPDIR": str(long), "HOME": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("1.0"), done.stderr
