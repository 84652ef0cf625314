"""One driver a sweep, wherever it runs: it shows every few seconds that it lives, and stops when another has taken over.

A killed driver shows nothing any more. On its own machine its process can be asked for; from another machine only its silence
tells, which is waited for, so that no clocks have to agree.
"""

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import cast

from pydantic import TypeAdapter
from rich.console import Console

from regbench.methods.errors import ConfigError, StorageError
from regbench.platform.records.storage import Storage

FILE = "driver.json"
BEAT_SECONDS = 5.0
# Many beats: no file system hides a new file for so long.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Driver:
    """The process that runs a sweep, as it last showed itself.

    Attributes:
        id: of this run of the sweep.
        host: its machine.
        pid: its process there.
        beat: counts its signs of life.
    """

    id: str
    host: str
    pid: int
    beat: int = 0

    @property
    def known(self) -> bool:
        """Whether it could be read who it is."""
        return bool(self.id)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.known else f"a process that {FILE} does not tell"

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def gone(self) -> bool:
        """Whether its process is known to have ended; of one on another machine nothing is known."""
        if not self.here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


# One of which nothing is known, since its file holds something else: another machine's, for all that can be said.
UNKNOWN = Driver("", "", 0)
_DRIVER = TypeAdapter(Driver)
_PIDS = range(1, 2**31)


def last_driver(storage: Storage) -> Driver | None:
    """The driver that a sweep has, or had when it was killed; None after an orderly end."""
    try:
        found = _DRIVER.validate_python(json.loads(storage.read(FILE)))
    except FileNotFoundError:
        return None
    except ValueError:
        return UNKNOWN
    return found if found.known and found.pid in _PIDS else UNKNOWN


@contextmanager
def only_driver(
    storage: Storage, console: Console, beat_s: float = BEAT_SECONDS, patience_s: float = PATIENCE_SECONDS
) -> Iterator[None]:
    """Makes this process the sweep's driver; one that another process replaces is interrupted as if by Ctrl-C.

    Args:
        storage: the sweep's folder.
        console: where waiting is explained.
        beat_s: seconds between two signs of life.
        patience_s: seconds of silence after which a driver on another machine is taken as ended.

    Raises:
        ConfigError: another process runs the sweep, or has taken it over.
    """
    before = last_driver(storage)
    if before and not before.gone and before.pid != os.getpid():
        _wait_for_silence(before, storage, console, patience_s)
    mine = Driver(uuid.uuid4().hex, socket.gethostname(), os.getpid())
    _show(mine, storage)
    ended, replaced = threading.Event(), threading.Event()
    arguments = (mine, storage, beat_s, patience_s, ended, replaced)
    thread = threading.Thread(target=_beat, args=arguments, name="driver-beat", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if not replaced.is_set():
            raise
    finally:
        ended.set()
        thread.join()
        if not replaced.is_set():
            storage.delete(FILE)
    if replaced.is_set():
        raise ConfigError("another process has taken the sweep over, this one has stopped; nothing is lost")


def _wait_for_silence(other: Driver, storage: Storage, console: Console, patience_s: float) -> None:
    console.print(
        f"This sweep was run by {other}: seeing for {patience_s:.0f} s whether it still is …",
        markup=False,
    )
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        time.sleep(min(1.0, patience_s / 10))
        now = last_driver(storage)
        if now is None or now.gone:
            return
        if now.known and now != other:
            raise ConfigError(f"the sweep is running already, as {now}: stop that one first")


def _show(driver: Driver, storage: Storage) -> None:
    storage.write(FILE, json.dumps(asdict(driver)).encode())


def _beat(
    mine: Driver, storage: Storage, beat_s: float, patience_s: float, ended: threading.Event, replaced: threading.Event
) -> None:
    beat = 0
    while not ended.wait(beat_s):
        # A storage that cannot be reached is the sweep's trouble; if it comes back, so does the sign of life.
        with suppress(StorageError):
            now = last_driver(storage)
            if now is not None and now.known and now.id != mine.id:
                replaced.set()
                # To the main thread: one that another thread takes does not wake it from a wait.
                signal.pthread_kill(cast(int, threading.main_thread().ident), signal.SIGINT)
                if not ended.wait(patience_s):
                    # A process in a shell's background ignores the first signal. Nothing is lost by this one either.
                    os.kill(mine.pid, signal.SIGTERM)
                return
            beat += 1
            _show(Driver(mine.id, mine.host, mine.pid, beat), storage)
