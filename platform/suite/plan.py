"""From a suite to its studies: one for each method entry and data set, checked before anything runs."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metric, Track
from regbench.methods.registry import create, method_class
from regbench.methods.shared.bilevel.learning import LearnedMethod
from regbench.platform.records.records import Stage, Trial
from regbench.platform.suite.learned import NO_GUARANTEE, how_learned, plan_learning
from regbench.platform.suite.names import check_names, data_for, with_baselines
from regbench.platform.suite.spec import Entry, Suite
from regbench.search_spaces.ranges import example, extremes, resolve

# A study whose method refuses this many draws for each of its trials has too few points that can be.
DRAWS_PER_TRIAL = 20


@dataclass(frozen=True)
class Study:
    """A method entry on a data set: what its trials share.

    ``learning_rounds`` are the upper iterations of its tuning trial, where that learns the weights in ``space`` by gradient;
    ``draws`` bounds how often it is drawn for its ``trials``, since a draw that the method refuses is none of them.
    """

    sweep: str
    entry: str
    method: type[Method]
    data: str
    fixed: dict[str, Any]
    space: dict[str, BaseDistribution]
    objectives: tuple[Metric, ...]
    trials: int
    seed: int
    draws: int
    select: Literal["last", "best_round"] = "last"
    learning_rounds: int | None = None

    @cached_property
    def example(self) -> Method:
        """A configuration that the method takes, its own defaults where they can be."""
        return example(self.method.slug, self.fixed, self.space)

    @property
    def name(self) -> str:
        """Entry and data set; unique in the suite."""
        return f"{self.entry}-{self.data}"

    def trial(
        self,
        stage: Stage,
        number: int,
        seed: int,
        searched: dict[str, Any],
        *,
        off: bool = False,
        confirms: int | None = None,
    ) -> Trial:
        """The trial that trains this study's method with some values of the searched settings.

        Args:
            stage: of the trial.
            number: counts within the stage.
            seed: of the training.
            searched: values of the searched settings.
            off: whether every weight is set to its off value.
            confirms: number of the tuning trial whose values these are, in the stages after tuning.

        Raises:
            ConfigError: the method refuses the values.
        """
        method = create(self.method.slug, self.fixed | searched)
        if off:
            method = method.baseline()
        learning = self.learning_rounds if stage == "tune" else None
        return self._trial(
            stage,
            number,
            seed,
            planned_rounds=learning or method.rounds,
            settings=method.model_dump(),
            searched={name: getattr(method, name) for name in searched},
            confirms=confirms,
            learned=NO_GUARANTEE if learning else how_learned(method),
            ranges={name: (limits.low, limits.high, limits.log) for name, limits in self._floats()} if learning else {},
        )

    def refused(self, number: int, searched: dict[str, Any]) -> Trial:
        """The tuning trial of values that the method refuses, which trains nothing."""
        return self._trial("tune", number, self.seed, planned_rounds=0, settings=self.fixed | searched, searched=searched)

    def _trial(self, stage: Stage, number: int, seed: int, **facts: Any) -> Trial:
        paper = self.method.paper
        return Trial(
            sweep=self.sweep,
            key=f"{self.name}-{stage}-{number:04d}",
            stage=stage,
            track=self.method.track.name,
            entry=self.entry,
            method=self.method.slug,
            arxiv=paper.arxiv if paper else None,
            data=self.data,
            number=number,
            seed=seed,
            objectives=tuple(metric.validation for metric in self.objectives),
            modes=tuple(metric.mode for metric in self.objectives),
            select=self.select,
            **facts,
        )

    def _floats(self) -> list[tuple[str, FloatDistribution]]:
        return [(name, limits) for name, limits in self.space.items() if isinstance(limits, FloatDistribution)]

    def defaults(self) -> dict[str, Any]:
        """The method's own default for each searched setting, where the search space contains it."""
        fields = self.method.model_fields
        values = {name: fields[name].get_default(call_default_factory=True) for name in self.space}
        return {name: value for name, value in values.items() if contains(self.space[name], value)}

    def describe(self) -> dict[str, Any]:
        """As JSON-ready facts, for the sweep's ``suite.json``, from which `regbench.platform.suite.recorded` makes it again."""
        return {
            "entry": self.entry,
            "method": self.method.slug,
            "track": self.method.track.name,
            "data": self.data,
            "fixed": self.fixed,
            "space": {name: distribution_to_json(distribution) for name, distribution in self.space.items()},
            "trials": self.trials,
            "draws": self.draws,
            "select": self.select,
            "objectives": [metric.validation for metric in self.objectives],
            "modes": [metric.mode for metric in self.objectives],
            "weights": sorted(self.method.weights()),
            "learning_rounds": self.learning_rounds,
            # Those included that have the method's own defaults, which may change.
            "settings": self.example.model_dump(mode="json", exclude=set(self.space)),
        }


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a range holds a value."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


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
    space, rounds = resolve(method.slug, fixed, entry.space), None
    if suite.sampler.name == "bilevel":
        learning = plan_learning(name, entry, method, fixed, space, suite.trials)
        fixed, space, rounds = learning.fixed, learning.space, learning.rounds
    trials = _trials(suite, space)
    return Study(
        sweep=suite.name,
        entry=name,
        method=method,
        data=data,
        fixed=fixed,
        space=space,
        objectives=_objectives(suite, method.track),
        trials=trials,
        seed=suite.seed,
        draws=draws_for(suite, space, trials),
        select=suite.select,
        learning_rounds=rounds,
    )


def _trials(suite: Suite, space: dict[str, BaseDistribution]) -> int:
    """The suite's trials, fewer where a further one would be an earlier one again: nothing to search, no grid point left.

    Learning by gradient is one trial, as long as all of them.
    """
    if suite.sampler.name == "bilevel":
        return 1
    if suite.sampler.name == "grid":
        return min(suite.trials, _size(space, suite.sampler.points))
    # Population-based training gives several models of a population the same values at first.
    return suite.trials if suite.scheduler.name == "pbt" and space else int(min(suite.trials, points_in(space)))


def draws_for(suite: Suite, space: dict[str, BaseDistribution], trials: int) -> int:
    """How often a study with so many trials is drawn at most; where each point is trained once, a refused one is left out."""
    return trials if suite.sampler.name == "grid" or points_in(space) <= trials else trials * DRAWS_PER_TRIAL


def points_in(space: dict[str, BaseDistribution]) -> float:
    """How many points a space has: infinite with a continuous range, 1 where there is nothing to search."""
    return math.prod((math.inf if _continuous(limits) else _count(limits)) for limits in space.values())


def _continuous(limits: BaseDistribution) -> bool:
    return isinstance(limits, FloatDistribution) and not limits.step and limits.low < limits.high


def _count(limits: BaseDistribution) -> int:
    if isinstance(limits, CategoricalDistribution):
        return len(limits.choices)
    assert isinstance(limits, FloatDistribution | IntDistribution)
    return 1 + round((limits.high - limits.low) / (limits.step or 1))


def _size(space: dict[str, BaseDistribution], points: int) -> int:
    """How many points a grid has, without making them: there may be billions."""
    return math.prod(len(_axis(limits, points)) for limits in space.values())


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
            least = getattr(study.example, metric.needs)
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
        size = _size(study.space, suite.sampler.points)
        if size > suite.trials:
            raise ConfigError(
                f"sampler grid: {study.entry} has {size} grid points ({suite.sampler.points} per setting), but trials is "
                f"{suite.trials}; raise trials, lower sampler.points, or fix some settings"
            )
    if suite.select == "best_round" and (not study.method.track.iterative or issubclass(study.method, LearnedMethod)):
        raise ConfigError(
            f"select best_round chooses among the states of one model, which the rounds of {study.entry} are not; use last"
        )
    if suite.scheduler.name == "pbt" and not study.method.track.iterative:
        raise ConfigError(
            f"scheduler pbt copies models half way through training, but the rounds of track {study.method.track.name} "
            "are separate problems; use asha, median or none"
        )
    if suite.scheduler.name == "pbt" and not numeric:
        raise ConfigError(f"scheduler pbt changes numeric settings while training, {study.entry} searches none")


def grid(study: Study, points: int) -> list[dict[str, Any]]:
    """Every combination of ``points`` values of each setting, evenly spaced (by ratio on a log range), or all its choices."""
    return _combinations({name: _axis(limits, points) for name, limits in study.space.items()})


def all_points(study: Study) -> list[dict[str, Any]]:
    """Every point of a finite space."""
    return _combinations({name: _all_values(limits) for name, limits in study.space.items()})


def _all_values(limits: BaseDistribution) -> list[Any]:
    if isinstance(limits, CategoricalDistribution):
        return list(limits.choices)
    assert isinstance(limits, FloatDistribution | IntDistribution)
    return [min(limits.low + index * (limits.step or 1), limits.high) for index in range(_count(limits))]


def _combinations(axes: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _axis(distribution: BaseDistribution, points: int) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    shares = [index / (points - 1) for index in range(points)]
    values = [low * (high / low) ** share if distribution.log else low + (high - low) * share for share in shares]
    if distribution.step:
        values = [low + round((value - low) / distribution.step) * distribution.step for value in values]
    if isinstance(distribution, IntDistribution):
        values = [round(value) for value in values]
    return list(dict.fromkeys(min(max(value, low), high) for value in values))
