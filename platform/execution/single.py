"""One training of one method in this process, with its metrics shown as they come: ``regbench run``."""

from collections.abc import Mapping
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from regbench.methods.diagnostics import Diagnostics
from regbench.methods.errors import ConfigError, nearest
from regbench.methods.method import Method, Metrics
from regbench.methods.registry import create, data_of
from regbench.methods.run import Run
from regbench.methods.shared.data import Data, defined, load
from regbench.methods.shared.data.files.reading import require_track
from regbench.methods.watch import Watch
from regbench.platform.execution.shown import lively
from regbench.platform.execution.trial import require_finite, reset_process


def run_once(
    slug: str,
    settings: Mapping[str, Any],
    data: str | None,
    *,
    seed: int,
    device: str,
    test: bool,
    off: bool,
    diagnostics: Diagnostics | None = None,
    console: Console,
) -> dict[str, float]:
    """Trains a method and prints its last metrics; returns them.

    Args:
        slug: the method.
        settings: its settings.
        data: a data set, by default the track's own.
        seed: of the training.
        device: where to train.
        test: whether to compute the test metrics.
        off: whether to switch every weight off.
        diagnostics: what to measure of its hidden representation, or None.
        console: where to print.

    Raises:
        RegbenchError: a name or value is wrong, data is missing, or training diverges.
    """
    method = create(slug, settings)
    training, rounds = train_once(
        method.baseline() if off else method,
        data,
        seed=seed,
        device=device,
        test=test,
        diagnostics=diagnostics,
        console=console,
    )
    console.print(f"{slug} on {training.data.name}, seed {seed}", style="italic", highlight=False)
    table = Table(header_style="dim")
    table.add_column("metric")
    table.add_column("last value", justify="right")
    for name, value in rounds[-1].items():
        table.add_row(name, f"{value:.5g}")
    console.print(table)
    return rounds[-1]


def train_once(
    method: Method,
    data: str | Data | None,
    *,
    seed: int,
    device: str,
    test: bool,
    threads: int = 1,
    diagnostics: Diagnostics | None = None,
    console: Console,
) -> tuple[Run, list[Metrics]]:
    """Trains a method with a bar of progress; returns the training and the metrics of its rounds.

    Args:
        method: with its settings.
        data: a data set or its name, by default the track's own.
        seed: of the training.
        device: where to train.
        test: whether to compute the test metrics.
        threads: of PyTorch.
        diagnostics: what to measure of its hidden representation, or None.
        console: where progress is shown.

    Raises:
        RegbenchError: a name or value is wrong, data is missing, or training diverges.
    """
    track = method.track
    if isinstance(data, str):
        if data not in (fitting := data_of(track)):
            raise ConfigError(f"data set '{data}' does not fit track {track.name}; {nearest(data, fitting)}")
        if data in defined():
            require_track(load(data), track.name)
    reset_process(seed, threads)
    training = Run(data or track.data[0], seed=seed, device=_device(device), test=test)
    method.require_data(training.data)
    watch = Watch(diagnostics, method, training) if diagnostics else None
    rounds: list[Metrics] = []
    shown = track.primary.validation
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not lively(console)) as progress:
        task = progress.add_task(method.slug, total=method.rounds)
        for metrics in method.train(training):
            require_finite(metrics, training.round)
            rounds.append(metrics | watch.measure() if watch is not None else metrics)
            progress.update(task, advance=1, description=f"{method.slug}  {shown} {metrics[shown]:.4f}")
    return training, rounds


def _device(name: str) -> torch.device:
    try:
        # Asks the device for memory: PyTorch knows names of devices that this machine does not have.
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
