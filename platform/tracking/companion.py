"""The process that exports a sweep into MLflow while it runs: ``python -m regbench.platform.tracking.companion``.

Its orders are lines of JSON on standard input: first ``{"records": …, "tracking": …}``, the sweep's folder and the server;
at the end ``{"finish": true}``. It answers on standard output: ``{"exported": KEY}`` for every trial brought up to date, and
``{"problem": …}`` after every export, null where it went well. The end of the input is the end of the driver, and its own.
"""

import io
import json
import os
import sys
import threading

from regbench.methods.errors import TrackingError
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage, scrubbed
from regbench.platform.tracking.exporter import Exporter, advice

# Below Ray's workers, which have 15: trainings come first.
NICENESS = 19
PERIOD_SECONDS = 5.0
# A trial that ends sooner is exported once.
RUNNING_SECONDS = 30.0


def main() -> None:
    """Exports now and then, and once more when told to finish."""
    os.nice(NICENESS)
    # Unbuffered: a thread that waits in a buffer holds a lock that the end of the process needs.
    orders = io.FileIO(0)
    # What MLflow prints is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    finish = threading.Event()

    def listen() -> None:
        while orders.readline():
            finish.set()
        # What is half exported is completed by the next export, as after a kill of any other process.
        os._exit(1)

    def answer(**facts: str | None) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    order = json.loads(orders.readline())
    threading.Thread(target=listen, name="orders", daemon=True).start()
    records = Records(Storage(order["records"]))
    exporter = Exporter(records, order["tracking"], RUNNING_SECONDS, lambda key: answer(exported=key))
    while True:
        # At first there is nothing to export: MLflow is imported while the driver starts.
        answer(problem=_export(exporter, final=False))
        if finish.wait(PERIOD_SECONDS):
            break
    answer(problem=_export(exporter, final=True))


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
