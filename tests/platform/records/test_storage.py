"""Files of a sweep: whole or not at all, on a local folder and on another file system, and one line when it fails."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from regbench.methods.errors import StorageError
from regbench.platform.records.storage import Storage


@pytest.fixture(params=["path", "file URI", "memory"])
def storage(request, tmp_path) -> Storage:
    """A local folder, by path and by URI, and a file system that is not local: fsspec's, in memory."""
    uris = {"path": str(tmp_path), "file URI": tmp_path.as_uri(), "memory": f"fsspec+memory://{tmp_path.name}"}
    return Storage(uris[request.param])


def test_a_file_is_read_as_written(storage):
    storage.write("folder/file", b"first")
    storage.write("folder/file", b"second")
    assert storage.read("folder/file") == b"second"
    assert storage.exists("folder/file")
    assert storage.exists("folder")
    assert storage.names("folder") == ["file"]


def test_append_adds_at_the_end(tmp_path):
    storage = Storage(tmp_path)
    for part in (b"a\n", b"b\n", b""):
        storage.append("logs/file", part)
    assert storage.read("logs/file") == b"a\nb\n"


def test_what_is_not_there(storage):
    assert not storage.exists("none")
    assert storage.names("none") == []
    storage.delete("none")
    with pytest.raises(FileNotFoundError):
        storage.read("none")


def test_delete(storage):
    storage.write("file", b"content")
    storage.delete("file")
    assert not storage.exists("file")


def test_a_child_is_a_folder_of_its_own(storage):
    storage.child("a").write("file", b"of a")
    storage.child("b").write("file", b"of b")
    assert storage.read("a/file") == b"of a"
    assert storage.names() == ["a", "b"]


@pytest.mark.parametrize("name", ["../x", "..", "a..b", "/x", "a/b", "", " ", "a b", ".hidden", "x\n", "x" * 129])
def test_a_child_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(StorageError, match="cannot name a folder"):
        Storage(tmp_path).child(name)


def test_a_child_of_a_uri_keeps_its_options(tmp_path):
    assert Storage(f"{tmp_path.as_uri()}?x=1").child("a").uri == f"{tmp_path.as_uri()}/a?x=1"


@pytest.mark.parametrize("name", ["a b", "a?b", "a#b", "50%20", "é"])
def test_local_folders_may_have_any_name(tmp_path, name):
    child = Storage(tmp_path / name).child("sweep")
    child.write("file", b"content")
    assert (tmp_path / name / "sweep" / "file").read_bytes() == b"content"


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path):
    """The disk is full half way: the kernel refuses to let files of this process grow beyond 1000 bytes."""
    storage = Storage(tmp_path)
    storage.write("file", b"old")
    script = f"""
import resource, signal
from regbench.platform.records.storage import Storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for act in (Storage({str(tmp_path)!r}).write, Storage({str(tmp_path)!r}).append):
    try:
        act("file", b"x" * 5000)
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    written, appended = done.stdout.splitlines()
    assert written.startswith(f"StorageError cannot write file in {tmp_path}: File too large; ")
    assert appended.startswith(f"StorageError cannot write file in {tmp_path}: File too large; ")
    assert storage.read("file").startswith(b"old")
    assert len(storage.read("file")) <= 1000
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    """Another thread writes 300 kB again and again; each read gives one whole content."""
    storage, size = Storage(tmp_path), 300_000

    def write() -> None:
        for number in range(200):
            storage.write("file", bytes([number]) * size)

    storage.write("file", b"\0" * size)
    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        content = storage.read("file")
        assert content == content[:1] * size
        assert storage.names() == ["file"]
        seen.add(content[0])
    writer.join()
    assert len(seen) > 1
    assert storage.read("file") == bytes([199]) * size


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path):
    (tmp_path / "log").symlink_to("/dev/full")
    with pytest.raises(StorageError) as caught:
        Storage(tmp_path).append("log", b"line\n")
    message = str(caught.value)
    assert message.startswith(f"cannot write log in {tmp_path}: No space left on device; ")
    assert "regbench resume" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("folder", ["a file", "a file/below", "/proc/none"])
@pytest.mark.parametrize("act", ["write", "append", "names"])
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, folder, act):
    (tmp_path / "a file").write_bytes(b"")
    storage = Storage(tmp_path / folder)
    if act == "names" and not (tmp_path / folder).exists():
        assert storage.names() == []
        return
    with pytest.raises(StorageError) as caught:
        storage.names() if act == "names" else getattr(storage, act)("sub/file", b"content")
    message = str(caught.value)
    assert str(Path(tmp_path / folder)) in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("uri", ["s4://bucket/x", "file://", "fsspec+none://x"])
def test_an_unknown_file_system_is_one_line(uri):
    with pytest.raises(StorageError) as caught:
        Storage(uri)
    assert uri in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_delete_folder(storage):
    storage.write("folder/deep/file", b"content")
    storage.write("file", b"kept")
    storage.delete_folder("folder")
    storage.delete_folder("folder")
    assert not storage.exists("folder")
    assert storage.read("file") == b"kept"
