"""The trainings that the clauses of a method's contract look into: what several ask of one training is trained once."""

import copy
import dataclasses
import io
import os
import pickle
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from regbench.methods.method import Method, Metrics
from regbench.methods.objectives import CaughtObjective, is_pure, watched
from regbench.methods.run import Run


def smoke(method: type[Method]) -> Method:
    """The method with those smoke settings of its track that it has."""
    return method(**{name: value for name, value in method.track.smoke.items() if name in method.model_fields})


def smoke_run(method: type[Method], **options: Any) -> Run:
    """A run on the default data set of the method's track."""
    return Run(method.track.data[0], **options)


def changed(instance: Method, names: Sequence[str]) -> list[Method]:
    """The method with other values of numeric settings, near their own, that it takes; a setting without a value gets one."""
    found = []
    for number in range(2):
        values = {name: _near(getattr(instance, name))[number] for name in names}
        with suppress(ValidationError):
            found.append(instance.replace(**values))
    return found


def _near(value: Any) -> tuple[Any, Any]:
    if type(value) is int:
        return value + 1, value - 1
    return (0.5, 1.0) if value is None else (value / 2 or 0.1, value * 1.5 or 0.2)


def train(instance: Method, run: Run) -> list[Metrics]:
    """The curve of a run: the metrics of each round."""
    return [dict(metrics) for metrics in instance.train(run)]


def as_file(state: dict[str, Any]) -> bytes:
    """The content of a file that holds a run's state."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def reference(method: type[Method], *, test: bool = False) -> list[Metrics]:
    """The curve of seed 0 with smoke settings, which many clauses compare with."""
    return curve_of(smoke(method), test=test)


def curve_of(instance: Method, *, test: bool = False) -> list[Metrics]:
    """The curve of seed 0 of a configuration; methods that are equal to one plain method when off share that one's."""
    return _trained_once(type(instance), instance.model_dump_json(), test)


@cache
def _trained_once(method: type[Method], settings: str, test: bool) -> list[Metrics]:
    return train(method.model_validate_json(settings), smoke_run(method, test=test))


@dataclasses.dataclass
class Retrained:
    """What a second training with seed 0 shows.

    Attributes:
        curve: its metrics.
        kept: whether it leaves something on the method.
        changed: what it changes in the process, first to last.
        seen: its objective, caught at its first call in the last round, if there is one.
        halfway: its state after the first round, as a file's content.
    """

    curve: list[Metrics] = dataclasses.field(default_factory=list)
    kept: bool = False
    changed: list[str] = dataclasses.field(default_factory=list)
    seen: list[CaughtObjective] = dataclasses.field(default_factory=list)
    halfway: bytes = b""


@cache
def retrained(method: type[Method]) -> Retrained:
    """Trains a second time, and looks at the method and the process after each round."""
    # Libraries may set what they like when they are first imported, which this training makes sure has happened.
    reference(method)
    run, found = smoke_run(method), Retrained()
    instance = watched(smoke(method), run, found.seen) if is_pure(method) else smoke(method)
    fields, process = (dict(vars(instance)), copy.copy(instance.__pydantic_private__)), _process_state()
    training, ended = iter(instance.train(run)), False
    # A training that waits inside `no_grad` is caught without leaving its caller there.
    with torch.enable_grad():
        while not ended:
            metrics = next(training, None)
            ended = metrics is None
            found.halfway = found.halfway or as_file(run.state())
            found.curve += [] if metrics is None else [dict(metrics)]
            found.kept |= fields != (dict(vars(instance)), instance.__pydantic_private__)
            found.changed += [name for name, value in _process_state().items() if value != process[name]]
    return found


def _process_state() -> dict[str, Any]:
    """What trainings in one process share, and must leave alone."""
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "NumPy's error handling": np.geterr(),
        "NumPy's global random numbers": pickle.dumps(np.random.get_state()),
        "Python's random numbers": random.getstate(),
        "the environment": dict(os.environ),
        "the working directory": Path.cwd(),
    }
