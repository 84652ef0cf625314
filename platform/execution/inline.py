"""Runs the trials of a sweep in this process, one after the other, without Ray: for debugging and for a single GPU."""

from collections.abc import Callable
from functools import partial

from regbench.methods.errors import StorageError
from regbench.platform.execution.trial import Place, failure, train
from regbench.platform.records.records import Report, Trial
from regbench.platform.search.search import Search


def run_inline(search: Search, place: Place, watch: Callable[[Trial, Report | None], None]) -> None:
    """Trains every trial of a search.

    Args:
        search: what to train.
        place: where and how.
        watch: called with a trial and its report after each round, and with None when the trial has ended.
    """
    while (trial := search.next()) is not None:
        try:
            train(trial, place, partial(watch, trial))
        except StorageError:
            raise
        except Exception as error:
            search.finish(trial.key, "failed", failure(error))
        else:
            search.finish(trial.key, "completed")
        watch(trial, None)
