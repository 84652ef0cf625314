"""Metrics that a plugin adds to a track."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from regbench.methods import plugins
from regbench.methods.errors import ConfigError, one_line
from regbench.methods.method import Metric, Track

F = TypeVar("F", bound=Callable[[Tensor, Tensor], Any])


@dataclass(frozen=True)
class Added:
    """A metric beside a track's own, and what computes it."""

    metric: Metric
    compute: Callable[[Tensor, Tensor], Any]


_added: dict[str, dict[str, Added]] = {}


def metric(name: str, *, track: str, mode: Literal["max", "min"]) -> Callable[[F], F]:
    """Registers a function of predictions and targets as a metric of a track, which suites may take as an objective.

    Args:
        name: without the split's prefix.
        track: whose; what the function is given is the track's ``predictions``.
        mode: whether more or less is better.

    Raises:
        ConfigError: there is no such track, it has no predictions, or has a metric of that name.
    """

    def register(compute: F) -> F:
        # It imports methods, which import this.
        from regbench.methods.registry import own_track

        found = own_track(track)
        if not found.predictions:
            raise ConfigError(f"metric '{name}': track {track} has no predictions that a function could judge")
        if name in (known.name for known in _known(found)):
            raise ConfigError(f"metric '{name}': track {track} has one of that name; rename yours")
        _added.setdefault(track, {})[name] = Added(Metric(name, mode), compute)
        return compute

    return register


def metrics_of(track: Track) -> tuple[Metric, ...]:
    """A track's own metrics, then those that plugins add."""
    plugins.modules()
    return _known(track)


def _known(track: Track) -> tuple[Metric, ...]:
    return (*track.metrics, *(added.metric for added in _added.get(track.name, {}).values()))


def added_metrics(track: Track, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """The values of the metrics that plugins add to a track.

    Raises:
        ConfigError: one raises an error, or gives no number.
    """
    plugins.modules()
    return {name: _value(name, added, predictions, targets) for name, added in _added.get(track.name, {}).items()}


def _value(name: str, added: Added, predictions: Tensor, targets: Tensor) -> float:
    try:
        return float(added.compute(predictions, targets))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        shapes = f"{list(predictions.shape)} and {list(targets.shape)}"
        said = one_line(error)
        raise ConfigError(f"metric '{name}' gives no number for {shapes}: {type(error).__name__}: {said}") from error
