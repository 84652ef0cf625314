"""The export's companion of a running sweep."""

import logging
import threading

from regbench.methods.errors import TrackingError
from regbench.platform.records.storage import scrubbed
from regbench.platform.tracking.exporter import Exporter

LIVE_SECONDS = 5.0
# Longer than any healthy export of one trial takes; a server that needs more is caught up with `regbench sync`.
PATIENCE_SECONDS = 120.0

_log = logging.getLogger(__name__)


class LiveExporter:
    """Exports now and then while a sweep runs, in a thread of its own: a slow or dead server never holds the sweep up.

    Args:
        exporter: of the sweep.
        period_s: seconds between two exports.
        patience_s: seconds without a further trial after which `stop` gives the last export up.

    Attributes:
        problem: why MLflow is not up to date, one line that says what to do; None while all is well.
    """

    def __init__(self, exporter: Exporter, period_s: float = LIVE_SECONDS, patience_s: float = PATIENCE_SECONDS) -> None:
        self.exporter = exporter
        self.problem: str | None = None
        self._period_s = period_s
        self._patience_s = patience_s
        self._warned = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-exporter", daemon=True)

    def start(self) -> None:
        """Starts the thread, which does not keep the process alive."""
        self._thread.start()

    def stop(self) -> None:
        """Has the thread export what is left and end; ``problem`` says why, if that failed or took too long."""
        self._stopped.set()
        before = -1
        # A long sweep of short trials may be far ahead of its export.
        while self._thread.is_alive() and self.exporter.exports > before:
            before = self.exporter.exports
            self._thread.join(self._patience_s)
        if self._thread.is_alive():
            where = scrubbed(self.exporter.uri, self.exporter.uri)
            self.problem = f"MLflow at {where} took over {self._patience_s:g} s for a trial; {self.exporter.advice}"

    def _work(self) -> None:
        while not self._stopped.wait(self._period_s):
            self._sync(final=False)
        self._sync(final=True)

    def _sync(self, final: bool) -> None:
        try:
            self.exporter.sync(final)
            self.problem = None
        except TrackingError as error:
            self._remember(str(error))
        except Exception as error:
            reason = scrubbed(f"{type(error).__name__}: {error}", self.exporter.uri)
            self._remember(f"the export to MLflow failed: {reason}; {self.exporter.advice}")

    def _remember(self, problem: str) -> None:
        self.problem = problem
        if not self._warned:
            self._warned = True
            _log.warning("%s; the sweep goes on", problem)
