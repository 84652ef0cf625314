"""Runs the trials of a sweep in this process, one after the other, without Ray: for debugging and for a single GPU."""

import time
from collections.abc import Callable
from functools import partial

from regbench.methods.errors import StorageError
from regbench.platform.execution.surroundings import failure, of_surroundings
from regbench.platform.execution.trial import Place, train
from regbench.platform.records.records import Report, Trial
from regbench.platform.search.search import Search

# After what may pass, such as a file system that does not answer: this long, then twice as long, ….
PAUSE_SECONDS = 0.5


class TimeIsUp(BaseException):
    """Ends a training in the middle; no method catches it by mistake."""


def run_inline(search: Search, place: Place, retries: int, watch: Callable[[Trial, Report | None], None]) -> None:
    """Trains every trial of a search.

    Args:
        search: what to train.
        place: where and how.
        retries: how often a trial is tried again that lacks something around it.
        watch: called with a trial and its report after each round, and with None when the trial has ended.

    Raises:
        SurroundingsError: a trial lacks something around it each time.
        StorageError: results cannot be written.
    """

    def report(trial: Trial, entry: Report) -> None:
        watch(trial, entry)
        if search.late and trial.stage == "tune" and entry.round < trial.planned_rounds:
            raise TimeIsUp

    while (trial := search.next()) is not None:
        for left in reversed(range(retries + 1)):
            try:
                train(trial, place, partial(report, trial))
            except (KeyboardInterrupt, StorageError):
                raise
            except TimeIsUp:
                search.set_aside(trial.key)
            except BaseException as error:  # a method may end its process, too
                if not of_surroundings(error):
                    search.finish(trial.key, "failed", failure(error))
                elif left:
                    time.sleep(PAUSE_SECONDS * 2 ** (retries - left))
                    continue
                else:
                    search.give_back(trial.key, failure(error))
            else:
                search.finish(trial.key, "completed")
            break
        watch(trial, None)
