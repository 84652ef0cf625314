"""The export while a sweep runs, in a process of its own: neither MLflow's work nor a dead server holds trainings up."""

import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from regbench.platform.records.records import Records
from regbench.platform.records.storage import scrubbed
from regbench.platform.tracking.exporter import advice

# Longer than any healthy export of one trial takes; a server that needs more is caught up with `regbench sync`.
PATIENCE_SECONDS = 120.0

_log = logging.getLogger(__name__)


class LiveExporter:
    """The driver's side of `regbench.platform.tracking.companion`, the process that exports: a context, the companion's life.

    Orders go to the companion's standard input, which it also watches: it ends when the driver is gone, however that ended.
    An interrupt of the terminal does not reach it: the driver decides when the last export is, at the end of the context.

    Args:
        uri: of MLflow's server or database.
        patience_s: seconds without a further trial after which the last export is given up.

    Attributes:
        problem: why MLflow is not up to date, one line that says what to do; None while all is well.
    """

    def __init__(self, uri: str, patience_s: float = PATIENCE_SECONDS) -> None:
        self.problem: str | None = None
        self._uri = uri
        self._patience_s = patience_s
        self._records: Records | None = None
        self._warned = False
        self._exports = 0

    def __enter__(self) -> Self:
        """Starts the companion, which imports MLflow meanwhile."""
        command = [sys.executable, "-P", "-m", "regbench.platform.tracking.companion"]
        # It finds the modules that this process finds, and no others in the present folder.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, process_group=0)
        assert self._process.stdin
        assert self._process.stdout
        self._orders: IO[str] = self._process.stdin
        # Not among the arguments, which any user can list: the address of a database may hold a password.
        self._order(tracking=self._uri)
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], name="mlflow-export", daemon=True)
        self._reader.start()
        return self

    def export(self, records: Records) -> None:
        """Has the records of a sweep exported from now on."""
        self._records = records
        self._order(records=records.storage.uri)

    def catch_up(self) -> None:
        """Has what is there exported now, and does not wait for it."""
        self._order(final=False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Has the companion export what is left and end; ``problem`` says why, if that failed or took too long."""
        try:
            if self._records is not None:
                self._finish(self._records)
        finally:
            self._process.kill()
            self._process.wait()
            with suppress(BrokenPipeError):
                self._orders.close()

    def _finish(self, records: Records) -> None:
        self._order(final=True)
        before = -1
        # A long sweep of short trials may be far ahead of its export.
        while self._reader.is_alive() and self._exports > before:
            before = self._exports
            self._reader.join(self._patience_s)
        if self._reader.is_alive():
            where = scrubbed(self._uri, self._uri)
            self.problem = f"MLflow at {where} took over {self._patience_s:g} s for a trial; {advice(records)}"
        elif (status := self._process.wait()) and self.problem is None:
            self.problem = f"the export to MLflow ended with status {status}; {advice(records)}"

    def _order(self, **order: str | bool) -> None:
        # One that has ended by itself is reported at the end.
        with suppress(BrokenPipeError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()

    def _read(self, answers: IO[str]) -> None:
        """Takes in what the companion says until it ends."""
        with answers:
            for line in answers:
                answer = json.loads(line)
                self._exports += "exported" in answer
                if "problem" in answer:
                    self._remember(answer["problem"])

    def _remember(self, problem: str | None) -> None:
        self.problem = problem
        if problem and not self._warned:
            self._warned = True
            _log.warning("%s; the sweep goes on", problem)
