"""From a suite to its studies: one for each method entry and data set, checked before anything runs."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metric, Track
from regbench.methods.registry import create, method_class
from regbench.platform.records.records import Stage, Trial
from regbench.platform.suite.learned import NO_GUARANTEE, how_learned, plan_learning
from regbench.platform.suite.names import check_names, data_for, with_baselines
from regbench.platform.suite.spec import Entry, Suite
from regbench.search_spaces.ranges import extremes, resolve
from regbench.search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Study:
    """A method entry on a data set: what its trials share.

    ``learning_rounds`` are the upper iterations of its tuning trial, where that learns the weights in ``space`` by gradient.
    """

    sweep: str
    entry: str
    method: type[Method]
    data: str
    fixed: dict[str, Any]
    space: SearchSpace
    objectives: tuple[Metric, ...]
    trials: int
    seed: int
    learning_rounds: int | None = None

    @property
    def name(self) -> str:
        """Entry and data set; unique in the suite."""
        return f"{self.entry}-{self.data}"

    def trial(self, stage: Stage, number: int, seed: int, searched: dict[str, Any], *, off: bool = False) -> Trial:
        """The trial that trains this study's method with some values of the searched settings.

        Args:
            stage: of the trial.
            number: counts within the stage.
            seed: of the training.
            searched: values of the searched settings.
            off: whether every weight is set to its off value.

        Raises:
            ConfigError: the method refuses the values.
        """
        method = create(self.method.slug, self.fixed | searched)
        if off:
            method = method.baseline()
        learning = self.learning_rounds if stage == "tune" else None
        return Trial(
            sweep=self.sweep,
            key=f"{self.name}-{stage}-{number:04d}",
            stage=stage,
            track=method.track.name,
            entry=self.entry,
            method=method.slug,
            arxiv=method.paper.arxiv if method.paper else None,
            data=self.data,
            number=number,
            seed=seed,
            objectives=tuple(metric.validation for metric in self.objectives),
            modes=tuple(metric.mode for metric in self.objectives),
            planned_rounds=learning or method.rounds,
            settings=method.model_dump(),
            searched={name: getattr(method, name) for name in searched},
            learned=NO_GUARANTEE if learning else how_learned(method),
            ranges={name: (limits.low, limits.high, limits.log) for name, limits in self._floats()} if learning else {},
        )

    def _floats(self) -> list[tuple[str, FloatDistribution]]:
        return [(name, limits) for name, limits in self.space.items() if isinstance(limits, FloatDistribution)]

    def defaults(self) -> dict[str, Any]:
        """The method's own default for each searched setting, where the search space contains it."""
        method = create(self.method.slug, self.fixed)
        values = {name: getattr(method, name) for name in self.space}
        return {name: value for name, value in values.items() if self.space.holds(name, value)}

    @cached_property
    def rounds(self) -> tuple[int, int]:
        """The fewest and the most rounds that its tuning trials plan.

        They lie at corners of the space, since rounds only grow or only fall with a setting. Looked at are the corners of the
        settings that decide, the others at their defaults; a setting decides that changes the rounds of a corner of those found
        before it. A corner that the method refuses is never trained.
        """
        if self.learning_rounds:
            return self.learning_rounds, self.learning_rounds
        default = create(self.method.slug, self.fixed)
        ends = {
            name: [*extremes(limits), *([getattr(default, name)] if name in self.space.when else [])]
            for name, limits in self.space.items()
        }
        deciding: list[str] = []
        while True:
            corners = [dict(zip(deciding, values, strict=True)) for values in itertools.product(*map(ends.get, deciding))]
            more = [
                name
                for name in ends.keys() - deciding
                if any(len({self._planned(corner | {name: end}) for end in ends[name]} - {None}) > 1 for corner in corners)
            ]
            if not more:
                found = [rounds for corner in corners if (rounds := self._planned(corner))] or [default.rounds]
                return min(found), max(found)
            deciding += more

    def _planned(self, values: Mapping[str, Any]) -> int | None:
        try:
            return create(self.method.slug, self.fixed | values).rounds
        except ConfigError:
            return None

    def describe(self) -> dict[str, Any]:
        """As JSON-ready facts, for the sweep's ``suite.json``."""
        return {
            "entry": self.entry,
            "method": self.method.slug,
            "track": self.method.track.name,
            "data": self.data,
            "fixed": self.fixed,
            **self.space.describe(),
            "trials": self.trials,
            "objectives": [metric.validation for metric in self.objectives],
            "modes": [metric.mode for metric in self.objectives],
            "weights": sorted(self.method.weights()),
        }


def studies(suite: Suite) -> list[Study]:
    """Every study of a suite, each checked: settings, ranges, data sets, objectives, and whether the sampler can search it.

    Raises:
        ConfigError: something does not fit; one line that says what to change.
    """
    check_names(suite)
    found = [
        _study(suite, name, entry, data)
        for name, entry in with_baselines(suite).items()
        for data in data_for(suite, method_class(entry.method or name).track.name)
    ]
    for study in found:
        _check_sampler(suite, study)
        _check_measured(study)
    return found


def _study(suite: Suite, name: str, entry: Entry, data: str) -> Study:
    method = method_class(entry.method or name)
    shared = {key: value for key, value in suite.settings.items() if key in method.model_fields and key not in entry.space}
    fixed = shared | entry.settings
    create(method.slug, fixed)
    space, rounds = resolve(method.slug, fixed, entry.space), None
    if suite.sampler.name == "bilevel":
        learning = plan_learning(name, entry, method, fixed, space, suite.trials)
        fixed, space, rounds = learning.fixed, learning.space, learning.rounds
    return Study(
        sweep=suite.name,
        entry=name,
        method=method,
        data=data,
        fixed=fixed,
        space=SearchSpace(space),
        objectives=_objectives(suite, method.track),
        trials=_trials(suite, SearchSpace(space)),
        seed=suite.seed,
        learning_rounds=rounds,
    )


def _trials(suite: Suite, space: SearchSpace) -> int:
    """The suite's trials, fewer where a further one would be an earlier one again: nothing to search, no grid point left.

    Learning by gradient is one trial, as long as all of them.
    """
    if suite.sampler.name == "bilevel":
        return 1
    if suite.sampler.name == "grid":
        return min(suite.trials, _grid_size(space, suite.sampler.points))
    # Population-based training gives several models of a population the same values at first.
    return suite.trials if suite.scheduler.name == "pbt" and space else int(min(suite.trials, space.size))


def _grid_size(space: SearchSpace, points: int) -> int:
    return int(space.points(lambda name: len(space.spread(name, points))))


def _objectives(suite: Suite, track: Track) -> tuple[Metric, ...]:
    if suite.objectives is None:
        return (track.primary,)
    known = {metric.name: metric for metric in track.metrics}
    return tuple(known[name] for name in suite.objectives)


def _check_measured(study: Study) -> None:
    for metric in study.objectives:
        if metric.needs is None:
            continue
        if metric.needs in study.space:
            least = min(extremes(study.space[metric.needs]))
        else:
            least = getattr(create(study.method.slug, study.fixed), metric.needs)
        if least <= 0:
            raise ConfigError(
                f"objectives: {study.entry} measures {metric.name} only with a positive {metric.needs}, here it is {least}; "
                f"set {metric.needs} under `settings`"
            )


def _check_sampler(suite: Suite, study: Study) -> None:
    sampler = suite.sampler.name
    numeric = [name for name, distribution in study.space.items() if not isinstance(distribution, CategoricalDistribution)]
    if sampler == "cmaes" and study.space and len(numeric) < 2:
        raise ConfigError(
            f"sampler cmaes adapts a covariance and needs two numeric settings, {study.entry} searches {numeric}; use tpe"
        )
    if sampler == "grid":
        size = _grid_size(study.space, suite.sampler.points)
        if size > suite.trials:
            raise ConfigError(
                f"sampler grid: {study.entry} has {size} grid points ({suite.sampler.points} per setting), but trials is "
                f"{suite.trials}; raise trials, lower sampler.points, or fix some settings"
            )
    if suite.scheduler.name == "pbt" and not study.method.track.iterative:
        raise ConfigError(
            f"scheduler pbt copies models half way through training, but the rounds of track {study.method.track.name} "
            "are separate problems; use asha, median or none"
        )
    if suite.scheduler.name == "pbt":
        _check_population(study, numeric)


def _check_population(study: Study, numeric: list[str]) -> None:
    if not numeric:
        raise ConfigError(f"scheduler pbt changes numeric settings while training, {study.entry} searches none")
    changeable = create(study.method.slug, study.fixed).changeable
    if stiff := [name for name in study.space if name not in changeable]:
        raise ConfigError(
            f"scheduler pbt changes settings while a model trains, but {', '.join(stiff)} of {study.entry} cannot change then: "
            "fix what cannot under `settings`, or use another scheduler"
        )


def grid(study: Study, points: int) -> list[dict[str, Any]]:
    """Every combination of ``points`` values of each setting, evenly spaced (by ratio on a log range), or all its choices."""
    return study.space.combinations(lambda name: study.space.spread(name, points))


def all_points(study: Study) -> list[dict[str, Any]]:
    """Every point of a finite space."""
    return study.space.combinations(study.space.values_of)
