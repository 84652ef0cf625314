"""Trains one trial, in whatever process it is called: the one loop that every way of execution shares."""

import io
import json
import math
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from regbench.methods.diagnostics import Diagnostics
from regbench.methods.errors import CheckpointError, ConfigError, DivergedError, SurroundingsError, nearest
from regbench.methods.registry import create, find_method
from regbench.methods.run import Best, Run, World
from regbench.methods.shared.data.files.define import keep_files
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.watch import Watch
from regbench.platform.records.plugins import activate_kept
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.suite.learned import weight_learning


@dataclass(frozen=True)
class Place:
    """Where and how a trial trains.

    Attributes:
        storage: URI of the sweep's folder.
        threads: CPU threads of this worker.
        device: ``cpu``, ``cuda``, …; ``auto`` takes a GPU when PyTorch can use one in this process, else the CPU.
        checkpoint_seconds: at least so long between two checkpoints; 0 writes one after every round.
        diagnostics: what is measured of hidden representations, as a mapping, or None.
        plugins: those of the sweep, as ``suite.json`` describes them.
        files: what the suite says of data sets in a user's files, by name.
    """

    storage: str
    threads: int = 1
    device: str = "auto"
    checkpoint_seconds: float = 15.0
    diagnostics: dict[str, Any] | None = None
    plugins: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def reset_process(seed: int, threads: int) -> None:
    """Puts process-wide state where a fresh process has it: a reused worker must not carry one trial's state into the next."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def train(
    trial: Trial,
    place: Place,
    report: Callable[[Report], None],
    *,
    world: World | None = None,
    state: dict[str, Any] | None = None,
    located: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Trains a trial to its end: logs every report, keeps a checkpoint, and continues an interrupted training.

    Args:
        trial: what to train.
        place: where and how.
        report: called after each round, when log and checkpoint are written; may end the training by raising.
        world: the workers that train together; rank 0 alone writes.
        state: a checkpoint to continue from (another trial's, for population-based training) in place of its own.
        located: where Ray has put each worker, for the log.

    Raises:
        DivergedError: a metric is not finite.
        ConfigError: an objective is not reported.
        SurroundingsError: the method is not installed here.
        RegbenchError: settings, data or checkpoint are wrong.
    """
    records = Records(Storage(place.storage))
    activate_kept(records.storage, place.plugins)
    for name, spec in place.files.items():
        keep_files(name, FileData(**spec))
    if find_method(trial.method) is None:
        raise SurroundingsError(f"{socket.gethostname()} has no method {trial.method}: install the same regbench everywhere")
    reset_process(trial.seed, place.threads)
    device = _device(place.device)
    method = create(trial.method, trial.settings)
    learning = weight_learning(method, trial.ranges, trial.planned_rounds, trial.objectives[0]) if trial.ranges else None
    own = None if state else load_checkpoint(records.storage, trial.key)
    state = state or own
    before = state["report"].seconds if state else 0.0
    run = Run(
        trial.data,
        seed=trial.seed,
        split=trial.split,
        device=device,
        test=trial.stage in ("confirm", "ablate"),
        watch=_watched(trial, records, state["report"].round if state else 0) if trial.select == "best_round" else None,
        checkpoint=state["run"] if state else None,
        world=world,
    )
    method.require_data(run.data)
    watch = Watch(Diagnostics(**place.diagnostics), method, run) if place.diagnostics else None
    began = saved = time.monotonic()
    log = None
    if run.world.rank == 0:
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "device": str(device), "workers": run.world.size}
        log = records.start_attempt(trial.key, **facts, searched=trial.searched, located=list(located))
        if own is not None:
            # A crash may have torn this line off the log of the attempt that wrote the checkpoint.
            log.report(own["report"])
    try:
        for metrics in (learning or method).train(run):
            require_finite(metrics, run.round)
            _require_objectives(metrics, trial)
            if watch is not None:
                metrics = metrics | watch.measure()
            seconds = before + time.monotonic() - began
            searched = trial.searched | {name: metrics[f"learned/{name}"] for name in trial.ranges}
            entry = Report(run.round, time.time(), seconds, metrics, searched)
            if log is not None:
                log.report(entry)
                if run.last or time.monotonic() - saved >= place.checkpoint_seconds:
                    # First what led there: a resumed trial repeats no round that its checkpoint holds.
                    log.flush()
                    save_checkpoint(records.storage, trial.key, run, entry)
                    saved = time.monotonic()
            report(entry)
    finally:
        if log is not None:
            log.flush()


def _watched(trial: Trial, records: Records, until: int) -> Best:
    """The trial's objective, with what it was at best in the rounds that are not trained again."""
    before = trial.counted([report for report in records.log(trial.key).reports if report.round <= until])
    return Best(trial.objectives[0], trial.modes[0], before.metrics[trial.objectives[0]] if before else None)


def _device(name: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def require_finite(metrics: dict[str, float], round_: int) -> None:
    """Raises DivergedError when a metric of a round is not finite."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"{name} became {value} in round {round_}: training diverged; lower the learning rate or the weights"
            )


def _require_objectives(metrics: dict[str, float], trial: Trial) -> None:
    for name in trial.objectives:
        if name not in metrics:
            raise ConfigError(f"{trial.method} reports no {name}, which the suite optimizes; {nearest(name, metrics)}")


def checkpoint_bytes(run: Run, report: Report) -> bytes:
    """A run's state after a report, and the report, as a file's content; ``torch.load(weights_only=True)`` reads it."""
    buffer = io.BytesIO()
    torch.save({"report": json.dumps(asdict(report)), "run": run.state()}, buffer)
    return buffer.getvalue()


def save_checkpoint(storage: Storage, key: str, run: Run, report: Report) -> None:
    """Writes the newest state of a trial over its last one."""
    storage.write(f"checkpoints/{key}.pt", checkpoint_bytes(run, report))


def load_checkpoint(storage: Storage, key: str) -> dict[str, Any] | None:
    """The newest state of a trial, or None when it has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = f"checkpoints/{key}.pt"
    try:
        content = storage.read(path)
    except FileNotFoundError:
        return None
    return parse_checkpoint(content, f"{storage.uri}/{path}")


def parse_checkpoint(content: bytes, name: str) -> dict[str, Any]:
    """Reads what ``checkpoint_bytes`` wrote.

    Raises:
        CheckpointError: the content is damaged.
    """
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return {"report": Report(**json.loads(state["report"])), "run": state["run"]}
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {name} is damaged ({type(error).__name__}): delete it and the trial starts again from round 1"
        ) from None
