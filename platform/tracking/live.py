"""The export while a sweep runs, in a process of its own: neither MLflow's work nor a dead server holds trainings up."""

import json
import logging
import subprocess
import sys
import threading
from typing import IO

from regbench.platform.records.records import Records
from regbench.platform.records.storage import scrubbed
from regbench.platform.tracking.exporter import advice

# Longer than any healthy export of one trial takes; a server that needs more is caught up with `regbench sync`.
PATIENCE_SECONDS = 120.0

_log = logging.getLogger(__name__)


class LiveExporter:
    """The driver's side of `regbench.platform.tracking.companion`, the process that exports.

    Orders go to the companion's standard input, which it also watches: it ends when the driver is gone, however that ended.
    An interrupt of the terminal does not reach it: the driver decides when the last export is.

    Args:
        records: of the sweep.
        uri: of MLflow's server or database.
        patience_s: seconds without a further trial after which `stop` gives the last export up.

    Attributes:
        problem: why MLflow is not up to date, one line that says what to do; None while all is well.
    """

    def __init__(self, records: Records, uri: str, patience_s: float = PATIENCE_SECONDS) -> None:
        self.problem: str | None = None
        self._records = records
        self._uri = uri
        self._patience_s = patience_s
        self._warned = False
        self._exports = 0

    def start(self) -> None:
        """Starts the companion."""
        command = [sys.executable, "-m", "regbench.platform.tracking.companion"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, process_group=0)
        assert self._process.stdin
        assert self._process.stdout
        self._orders: IO[str] = self._process.stdin
        # Not among the arguments, which any user can list: the address of a database may hold a password.
        self._order({"records": self._records.storage.uri, "tracking": self._uri})
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], name="mlflow-export", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Has the companion export what is left and end; ``problem`` says why, if that failed or took too long."""
        self._order({"finish": True})
        before = -1
        # A long sweep of short trials may be far ahead of its export.
        while self._reader.is_alive() and self._exports > before:
            before = self._exports
            self._reader.join(self._patience_s)
        if self._reader.is_alive():
            self._process.kill()
            where = scrubbed(self._uri, self._uri)
            self.problem = f"MLflow at {where} took over {self._patience_s:g} s for a trial; {advice(self._records)}"
        elif self._process.wait() and self.problem is None:
            self.problem = f"the export to MLflow ended with status {self._process.returncode}; {advice(self._records)}"
        self._process.wait()
        self._orders.close()

    def _order(self, order: dict[str, object]) -> None:
        try:
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()
        except BrokenPipeError:
            # It has ended by itself; `stop` reports that.
            pass

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
