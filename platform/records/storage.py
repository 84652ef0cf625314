"""Files of a sweep on any ``pyarrow.fs`` file system: a local folder, ``s3://…``, ``gs://…``."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyarrow import fs

from regbench.methods.errors import StorageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
PASSWORD = re.compile(r"[^/]+://[^/?]*:[^/?]*@")


class Storage:
    """A folder on a ``pyarrow.fs`` file system, with whole-file reads and atomic whole-file writes; local ones append too.

    Args:
        uri: a path or a URI that ``pyarrow.fs.FileSystem.from_uri`` understands.

    Raises:
        StorageError: the URI's scheme is unknown, or it holds a password.
    """

    def __init__(self, uri: str | Path) -> None:
        text = str(uri)
        self.uri = text if "://" in text else str(Path(text).expanduser().absolute())
        if PASSWORD.match(self.uri):
            # The address is shown, passed on and recorded.
            raise StorageError(
                f"no password in an address such as '{scrubbed(text, text)}': put it into the environment "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3)"
            )
        try:
            self.filesystem, self.root = fs.FileSystem.from_uri(self.uri)
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot use '{scrubbed(text, text)}' as storage: {_reason(error)}") from None

    @property
    def local(self) -> Path | None:
        """The folder as a path where it is on this machine, else None."""
        return Path(self.root) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.root.rstrip("/").rpartition("/")[2]

    def child(self, name: str) -> "Storage":
        """The sub-folder of that name.

        Raises:
            StorageError: the name could leave the folder, or has characters that file systems refuse.
        """
        if not is_name(name):
            raise StorageError(f"'{name}' cannot name a folder: use letters, digits, '_', '-' and '.'")
        base, mark, query = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return Storage(f"{base.rstrip('/')}/{name}{mark}{query}")

    def sibling(self, name: str) -> "Storage":
        """The folder of another name beside this one.

        Raises:
            StorageError: the name could leave the folder, or has characters that file systems refuse.
        """
        base, mark, query = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return Storage(f"{base.rstrip('/').rpartition('/')[0]}{mark}{query}").child(name)

    def read(self, path: str) -> bytes:
        """The whole file.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be read.
        """
        with self._explained("read", path), self.filesystem.open_input_stream(self._full(path)) as stream:
            return stream.read()

    def write(self, path: str, content: bytes) -> None:
        """Writes a whole file so that readers see the old content or the new, never a part of it.

        Raises:
            StorageError: it cannot be written (no space, no permission).
        """
        with self._explained("write", path):
            target = self._full(path)
            if self.local is None:
                with self.filesystem.open_output_stream(target) as stream:
                    stream.write(content)
                return
            folder, _, name = target.rpartition("/")
            Path(folder).mkdir(parents=True, exist_ok=True)
            partial = f"{folder}/.{name}.{os.getpid()}"
            try:
                with Path(partial).open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    # A power cut must not leave the new name with nothing in it.
                    os.fsync(stream.fileno())
                Path(partial).replace(target)
            finally:
                Path(partial).unlink(missing_ok=True)

    def append(self, path: str, content: bytes) -> None:
        """Adds to the end of a file on a local disk; object stores cannot.

        Raises:
            StorageError: it cannot be written.
        """
        with self._explained("write", path):
            target = Path(self._full(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab") as stream:
                stream.write(content)

    def check(self) -> None:
        """Makes sure that files can be written.

        Raises:
            StorageError: they cannot.
        """
        self.write(".writable", b"")
        self.delete(".writable")

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder at ``path``."""
        with self._explained("read", path):
            return self.filesystem.get_file_info(self._full(path)).type != fs.FileType.NotFound

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, sorted, without partly written files; empty when there is no folder."""
        with self._explained("read", folder):
            selector = fs.FileSelector(self._full(folder), allow_not_found=True)
            found = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def delete(self, path: str) -> None:
        """Deletes a file if it is there."""
        if self.exists(path):
            with self._explained("delete", path):
                self.filesystem.delete_file(self._full(path))

    def delete_folder(self, path: str) -> None:
        """Deletes a folder with all that is in it, if it is there."""
        if self.exists(path):
            with self._explained("delete", path):
                self.filesystem.delete_dir(self._full(path))

    def delete_empty(self) -> None:
        """Deletes the folder itself where it is on this machine and nothing is in it."""
        if self.local is not None:
            with suppress(OSError):
                self.local.rmdir()

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")

    @contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if verb == "read" and isinstance(error, FileNotFoundError):
                raise
            raise StorageError(
                f"cannot {verb} {path or 'the folder'} in {scrubbed(self.uri, self.uri)}: {_reason(error)}; "
                "make room or grant access, then run `regbench resume`, or choose another --storage"
            ) from None


def is_name(text: str) -> bool:
    """Whether a text can name a folder or file on every file system, and nothing outside its folder."""
    return NAME.fullmatch(text) is not None and ".." not in text


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def scrubbed(text: str, uri: str) -> str:
    """A text as one line, without the login and the query of an address: either may hold a password."""
    login, _, rest = uri.partition("://")[2].rpartition("@")
    query = rest.partition("?")[2]
    for secret in (login and f"{login}@", query and f"?{query}"):
        text = text.replace(secret, "") if secret else text
    return " ".join(text.split())
