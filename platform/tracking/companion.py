"""The process that exports a sweep into MLflow while it runs: ``python -m regbench.platform.tracking.companion``.

Its orders are lines of JSON on standard input: ``{"tracking": …}``, MLflow's address; ``{"records": …}``, the sweep's folder,
once it is there; then ``{"final": false}`` to export now and ``{"final": true}`` to do so for the last time. It answers on
standard output: ``{"exported": KEY}`` for every trial brought up to date, and ``{"problem": …}`` after every export, null where
it went well. The end of the input is the end of the driver, and its own.
"""

import atexit
import gc
import io
import json
import os
import sys
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from regbench.methods.errors import TrackingError
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage, scrubbed
from regbench.platform.tracking.connection import import_mlflow
from regbench.platform.tracking.exporter import Exporter, advice

# Gives way to the driver and to whatever else runs here, but not without end: the driver waits for the last export.
NICENESS = 10
PERIOD_SECONDS = 5.0
# A trial that ends sooner is exported once.
RUNNING_SECONDS = 30.0

Orders = SimpleQueue[dict[str, Any]]


def main() -> None:
    """Exports now and then, when told to, and for the last time."""
    os.nice(NICENESS)
    # The driver waits for the end of this process, most of which was a last search for garbage.
    atexit.register(gc.freeze)
    # What MLflow prints is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**facts: str | None) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    orders: Orders = SimpleQueue()
    Thread(target=_listen, args=[orders], name="orders", daemon=True).start()
    uri = orders.get()["tracking"]
    import_mlflow(uri)
    records = Records(Storage(orders.get()["records"]))
    exporter = Exporter(records, uri, RUNNING_SECONDS, lambda key: answer(exported=key))
    final = False
    while True:
        answer(problem=_export(exporter, final))
        if final:
            return
        with suppress(Empty):
            final = orders.get(timeout=PERIOD_SECONDS)["final"]


def _listen(orders: Orders) -> None:
    # Unbuffered: a thread that waits in a buffer holds a lock that the end of the process needs.
    with io.FileIO(0) as lines:
        for line in lines:
            orders.put(json.loads(line))
    # What is half exported is completed by the next export, as after a kill of any other process.
    os._exit(1)


def _export(exporter: Exporter, final: bool) -> str | None:
    """Exports, and returns in one line what prevented it."""
    try:
        exporter.sync(final)
    except TrackingError as error:
        return str(error)
    except Exception as error:
        reason = scrubbed(f"{type(error).__name__}: {error}", exporter.uri)
        return f"the export to MLflow failed: {reason}; {advice(exporter.records)}"
    return None


if __name__ == "__main__":
    main()
