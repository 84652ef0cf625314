"""Refuses what a suite names and regbench does not have, before anything heavy is imported."""

import math
from typing import Any

from regbench.methods.errors import ConfigError, nearest
from regbench.platform.inventory.facts import Inventory, MethodFacts
from regbench.platform.inventory.inventory import inventory
from regbench.platform.suite.entries import Entry
from regbench.platform.suite.spec import Suite


def with_baselines(suite: Suite) -> dict[str, Entry]:
    """The entries of a suite, each track's baseline added where it is missing.

    Raises:
        ConfigError: an entry's method does not exist.
    """
    known = inventory()
    present = [entry.method or name for name, entry in suite.methods.items()]
    tracks = sorted({known.track_of(slug).name for slug in present})
    baselines = [known.tracks[name].baseline for name in tracks]
    return {slug: Entry() for slug in baselines if slug not in present} | suite.methods


def data_for(suite: Suite, track: str) -> list[str]:
    """The data sets of a suite that fit a track, by default the track's own.

    Raises:
        ConfigError: one does not exist, or none fits.
    """
    known = inventory()
    fitting = known.tracks[track].data
    if suite.data is None:
        return fitting[:1]
    for name in suite.data:
        known.data_set(name)
    if not (found := [name for name in suite.data if name in fitting]):
        raise ConfigError(f"none of the data sets {list(suite.data)} fits track {track}; it has {', '.join(fitting)}")
    return found


def check_new(suite: Suite) -> None:
    """Refuses what a new sweep must not have, though sweeps of older versions may: names and seeds that mean two things.

    Raises:
        ConfigError: one line that says what to change.
    """
    known = inventory()
    for name, entry in suite.methods.items():
        if entry.method not in (None, name) and any(name == track.baseline for track in known.tracks.values()):
            raise ConfigError(f"methods: '{name}' is a track's baseline, but the entry's method is {entry.method}: rename it")
        for setting, limits in entry.ranges.items():
            _check_step(f"range of {entry.method or name}.{setting}", limits)
    for setting, limits in suite.ranges.items():
        _check_step(f"space: range of {setting}", limits)
    for name in suite.objectives or ():
        if (suite.objectives or []).count(name) > 1:
            raise ConfigError(f"objectives: '{name}' is there twice")
    _check_networks(suite, known)
    _check_fresh(suite)


def _check_networks(suite: Suite, known: Inventory) -> None:
    """Refuses to pass over the network that a suite chooses for all: a method without it is compared with another model."""
    if "architecture" not in suite.settings:
        return
    for method in (known.method(entry.method or name) for name, entry in suite.methods.items()):
        baseline = known.method(known.tracks[method.track].baseline)
        has = [any(setting.name == "architecture" for setting in facts.settings) for facts in (baseline, method)]
        if has == [True, False]:
            raise ConfigError(f"settings: {method.slug} trains a model of its own, no `architecture`: leave one of both out")


def _check_fresh(suite: Suite) -> None:
    """Refuses to confirm on a seed of tuning."""
    replicates = suite.limit if suite.replicates > 1 else 1
    tuning = range(suite.seed, suite.tuning_seeds(replicates - 1).stop)
    last = suite.confirming_seeds(replicates - 1, None if suite.replicates > 1 else suite.limit)
    confirming = range(suite.confirm.first_seed, last.stop)
    if max(tuning.start, confirming.start) < min(tuning.stop, confirming.stop):
        raise ConfigError(
            f"seed {tuning[0]}{_to(tuning)} is that of tuning and one of the seeds {confirming[0]}{_to(confirming)} that "
            "confirm: those must be fresh; change confirm.first_seed"
        )


def _to(seeds: range) -> str:
    return f" to {seeds[-1]}" if len(seeds) > 1 else ""


def _check_step(where: str, limits: Any) -> None:
    """Refuses a step that does not lead from low to high: Optuna would search a shorter range."""
    numbers = [limits.get(key) for key in ("low", "high", "step")] if isinstance(limits, dict) else []
    low, high, step = (float(number) if isinstance(number, int | float) else math.nan for number in numbers or [None] * 3)
    if math.isnan(low + high + step):
        return
    parts = (high - low) / step if step > 0 else math.nan
    if not math.isfinite(parts) or not math.isclose(parts, round(parts), rel_tol=1e-9):
        raise ConfigError(f"{where}: a step of {step:g} does not lead from low to high")


def check_names(suite: Suite) -> None:
    """Refuses unknown methods, data sets, settings and objectives.

    Raises:
        ConfigError: one line that names the nearest known ones.
    """
    known, entries = inventory(), with_baselines(suite)
    methods = {name: known.method(entry.method or name) for name, entry in entries.items()}
    for name, method in methods.items():
        entry = entries[name]
        method.require_settings([*entry.settings, *entry.ranges, *(entry.only or ()), *_names(entry.start)])
        data_for(suite, method.track)
        _check_objectives(suite, known, method)
    if suite.resplit and (
        whole := sorted(
            {name for method in methods.values() for name in data_for(suite, method.track) if not known.data[name].splits}
        )
    ):
        raise ConfigError(
            f"resplit: data set '{whole[0]}' has one split only, which it comes with: leave resplit out, or that data set"
        )
    settings = {setting.name for method in methods.values() for setting in method.settings}
    searched = [*suite.ranges, *(suite.only or ())]
    for where, names in (("settings", suite.settings), ("space", searched), ("start", _names(suite.start))):
        for setting in names:
            if setting not in settings:
                raise ConfigError(f"{where}: no method of the suite has '{setting}'; {nearest(setting, settings)}")
    for setting in searched:
        if setting in suite.settings:
            raise ConfigError(f"'{setting}' is both under `settings` and searched by `space`; keep one")


def _names(points: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point))


def _check_objectives(suite: Suite, known: Inventory, method: MethodFacts) -> None:
    metrics = [metric.name for metric in known.tracks[method.track].metrics]
    for name in suite.objectives or ():
        if name not in metrics:
            raise ConfigError(f"objectives: track {method.track} has no metric '{name}'; {nearest(name, metrics)}")
