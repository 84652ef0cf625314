"""What a sweep shows while it runs: a bar over all trials, and the best validation value of each study so far."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from regbench.platform.execution.shown import lively
from regbench.platform.records.records import Report, Trial
from regbench.platform.search.search import Search

LINE_SECONDS = 15.0


class SweepProgress:
    """Shows a sweep in the terminal; where there is none, prints a line now and then.

    Args:
        search: the sweep's studies, read whenever something is shown.
        console: where to show it.
    """

    def __init__(self, search: Search, console: Console) -> None:
        self._search = search
        self._console = console
        self._reports: dict[str, Report] = {}
        self._lock = threading.Lock()
        self._bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=search.total, completed=self._ended())
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if lively(self._console):
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if lively(self._console):
            self._live.stop()

    @contextmanager
    def interruptible(self, waits_for: str) -> Iterator[None]:
        """Says at once that an interrupt was understood, and what is waited for before the command ends."""
        try:
            yield
        except KeyboardInterrupt:
            self._bar.update(self._task, description="stopping")
            said = f"Stopping; nothing is lost. Waiting for {waits_for} (Ctrl-C again: leave at once) …"
            self._console.print(said, soft_wrap=True)
            raise

    def watch(self, trial: Trial, report: Report | None) -> None:
        """A trial reported a round, or (None) ended."""
        with self._lock:
            if report is None:
                self._reports.pop(trial.key, None)
            else:
                self._reports[trial.key] = report
        self._bar.update(self._task, completed=self._ended(), total=self._search.total, description=self._stage())
        if report is None and not lively(self._console) and time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"{self._ended()} of {self._search.total} trials; {self._stage()}")

    def _ended(self) -> int:
        return sum(len(state.ended) for state in self._search.states.values())

    def _stage(self) -> str:
        stages = {trial.stage for trial in list(self._search.running.values())}
        return "tuning" if "tune" in stages else "confirming" if stages else "sweep"

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("study", "tuned", "best so far", "confirmed", "running now"):
            table.add_column(column, no_wrap=True)
        with self._lock:
            reports = dict(self._reports)
        for state in list(self._search.states.values()):
            rows = list(state.ended.values())
            tuned = sum(row["stage"] == "tune" for row in rows)
            stopped = sum(row["status"] == "stopped" for row in rows)
            failed = sum(row["status"] == "failed" for row in rows)
            counts = ((stopped, "stopped"), (failed, "failed"), (len(state.refusals), "draws refused"))
            notes = ", ".join(f"{count} {name}" for count, name in counts if count)
            best = state.best()
            metric = state.study.objectives[0].validation
            now = [
                f"{trial.stage} {trial.number}: {reports[key].round if key in reports else 0}/{trial.planned_rounds}"
                for key, trial in list(self._search.running.items())
                if trial.study == state.study.name
            ]
            table.add_row(
                state.study.name,
                f"{tuned}/{state.study.trials}" + (f" ({notes})" if notes else ""),
                f"{metric} {best['values'][0]:.4g}" if best else "",
                str(len(rows) - tuned) if len(rows) > tuned else "",
                "  ".join(now),
            )
        return Group(table, self._bar)
