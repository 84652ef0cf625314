"""From a suite to its studies: one for each method entry and data set, checked before anything runs."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from optuna.distributions import CategoricalDistribution, FloatDistribution

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metric, Track
from regbench.methods.metrics import metrics_of
from regbench.methods.registry import create, method_class
from regbench.methods.shared.bilevel.learning import LearnedMethod
from regbench.methods.shared.data import load
from regbench.platform.records.records import Stage, Trial, study_name
from regbench.platform.suite.entries import Entry
from regbench.platform.suite.learned import NO_GUARANTEE, how_learned, plan_learning
from regbench.platform.suite.names import check_names, data_for, with_baselines
from regbench.platform.suite.spec import Suite
from regbench.platform.suite.start import starting_points
from regbench.search_spaces.ranges import example, extremes, resolve
from regbench.search_spaces.space import SearchSpace

# A study whose method refuses this many draws for each of its trials has too few points that can be.
DRAWS_PER_TRIAL = 20
# Samplers that search settings which are not in all trials.
CONDITIONAL = ("tpe", "random", "grid")


@dataclass(frozen=True)
class Study:
    """A method entry on a data set, in one replicate of the sweep: what its trials share.

    ``learning_rounds`` are the upper iterations of its tuning trial, where that learns the weights in ``space`` by gradient;
    ``draws`` bounds how often it is drawn for its ``trials``, since a draw that the method refuses is none of them;
    ``start`` holds the suite's own configurations, which are tried first; ``overlap`` is the share of the rows behind its data
    set that each split tests on, where replicates have splits of their own that overlap, and else 0.
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
    draws: int
    select: Literal["last", "best_round"] = "last"
    learning_rounds: int | None = None
    start: tuple[dict[str, Any], ...] = ()
    replicate: int = 0
    split: int = 0
    overlap: float = 0.0

    @cached_property
    def example(self) -> Method:
        """A configuration that the method takes, its own defaults where they can be."""
        return example(self.method.slug, self.fixed, self.space)

    @property
    def name(self) -> str:
        """Entry, data set and replicate; unique in the suite."""
        return study_name(self.entry, self.data, self.replicate)

    def repeated(self, replicate: int, suite: Suite) -> "Study":
        """The same in another replicate: with seeds of its own, and a split of its own where the suite says so."""
        split = replicate if suite.resplit else 0
        return replace(self, replicate=replicate, split=split, seed=suite.tuning_seeds(replicate)[0])

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
            replicate=self.replicate,
            split=self.split,
            **facts,
        )

    def _floats(self) -> list[tuple[str, FloatDistribution]]:
        return [(name, limits) for name, limits in self.space.items() if isinstance(limits, FloatDistribution)]

    def defaults(self) -> dict[str, Any]:
        """The method's own default for each searched setting, where the search space contains it."""
        values = {name: self._default(name) for name in self.space}
        return self.space.active({name: value for name, value in values.items() if self.space.holds(name, value)})

    def first_points(self) -> list[dict[str, Any]]:
        """The points with which it begins: the method's own default, so that no search can end below it, then the suite's."""
        return [self.defaults(), *self.start]

    def _default(self, name: str) -> Any:
        """The value of a setting where it is not searched."""
        default = self.method.model_fields[name].get_default(call_default_factory=True)
        return self.fixed.get(name, default)

    @cached_property
    def rounds(self) -> tuple[int, int]:
        """The fewest and the most rounds that its tuning trials plan.

        They lie at corners of the space, since rounds only grow or only fall with a setting. Looked at are the corners of the
        settings that decide, the others at their defaults; a setting decides that changes the rounds of a corner of those found
        before it. A corner that the method refuses is never trained.
        """
        if self.learning_rounds:
            return self.learning_rounds, self.learning_rounds
        ends = {
            name: [*extremes(limits), *([self._default(name)] if name in self.space.when else [])]
            for name, limits in self.space.items()
        }
        deciding: list[str] = []
        while True:
            corners = [
                dict(zip(deciding, values, strict=True)) for values in itertools.product(*(ends[name] for name in deciding))
            ]
            more = [
                name
                for name in ends.keys() - deciding
                if any(len({self._planned(corner | {name: end}) for end in ends[name]} - {None}) > 1 for corner in corners)
            ]
            if not more:
                found = [rounds for corner in corners if (rounds := self._planned(corner))] or [self.example.rounds]
                return min(found), max(found)
            deciding += more

    def _planned(self, values: Mapping[str, Any]) -> int | None:
        try:
            return create(self.method.slug, self.fixed | dict(values)).rounds
        except ConfigError:
            return None

    def describe(self) -> dict[str, Any]:
        """As JSON-ready facts, for the sweep's ``suite.json``, from which `regbench.platform.suite.recorded` makes it again."""
        return {
            "entry": self.entry,
            "method": self.method.slug,
            "track": self.method.track.name,
            "data": self.data,
            "fixed": self.fixed,
            **self.space.describe(),
            "trials": self.trials,
            "draws": self.draws,
            "start": list(self.start),
            "overlap": self.overlap,
            "select": self.select,
            "objectives": [metric.validation for metric in self.objectives],
            "modes": [metric.mode for metric in self.objectives],
            "weights": sorted(self.method.weights()),
            "learning_rounds": self.learning_rounds,
            # Those included that have the method's own defaults, which may change; of one that is not always searched, else.
            "settings": self.example.model_dump(mode="json", exclude=set(self.space))
            | {name: self._default(name) for name in self.space.when},
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
    if suite.until and not any(comparable(found, study) for study in found):
        raise ConfigError("until: decided has nothing to decide: a single entry, which has no weights; add methods")
    return found


def with_overlaps(suite: Suite, planned: list[Study]) -> list[Study]:
    """The studies with the share of rows that each split of their data tests on, where replicates' splits overlap; loads them.

    Raises:
        DataError: a data set's files are missing or damaged.
    """
    if not suite.resplit:
        return planned
    found = {name: load(name) for name in dict.fromkeys(study.data for study in planned)}
    shares = {name: len(data.test) / data.pool if data.pool else 0.0 for name, data in found.items()}
    return [replace(study, overlap=shares[study.data]) for study in planned]


def comparable(found: list[Study], study: Study) -> bool:
    """Whether a study is compared with a baseline beside it, or with its own weights off."""
    beside = (study.method.track, study.data)
    others = [other for other in found if other is not study and (other.method.track, other.data) == beside]
    return bool(study.method.weights() or others)


def _study(suite: Suite, name: str, entry: Entry, data: str) -> Study:
    method = method_class(entry.method or name)
    fields = method.model_fields
    fixed = {key: value for key, value in suite.settings.items() if key in fields and key not in entry.ranges} | entry.settings
    ranges = {key: value for key, value in suite.ranges.items() if key in fields and key not in entry.settings} | entry.ranges
    space, rounds = resolve(method.slug, fixed, ranges, _only(suite, entry, method)), None
    if never := [key for key in entry.ranges if key not in space]:
        raise ConfigError(f"range of {name}.{never[0]}: what it depends on never has that value, so it would not be searched")
    if suite.sampler.name == "bilevel":
        learning = plan_learning(name, ranges, method, fixed, space, suite.trials)
        fixed, space, rounds = learning.fixed, learning.space, learning.rounds
    trials = _trials(suite, space)
    study = Study(
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
    start = starting_points(name, method, fixed, space, study.defaults(), entry.start, suite.start)
    return replace(study, start=start)


def _only(suite: Suite, entry: Entry, method: type[Method]) -> list[str] | None:
    """The settings that alone an entry searches: those that it names itself, else the suite's and its own ranges; None: all."""
    if entry.only is not None or suite.only is None:
        return entry.only
    shared = [name for name in suite.only if name in method.model_fields and name not in entry.settings]
    return list(dict.fromkeys([*shared, *entry.ranges]))


def _trials(suite: Suite, space: SearchSpace) -> int:
    """The suite's trials, fewer where a further one would be an earlier one again: nothing to search, no grid point left.

    Learning by gradient is one trial, as long as all of them.
    """
    if suite.sampler.name == "bilevel":
        return 1
    if suite.sampler.name == "grid":
        return min(suite.trials, space.grid_size(suite.sampler.points))
    # Population-based training gives several models of a population the same values at first.
    return suite.trials if suite.scheduler.name == "pbt" and space else int(min(suite.trials, space.size))


def draws_for(suite: Suite, space: SearchSpace, trials: int) -> int:
    """How often a study with so many trials is drawn at most; where each point is trained once, a refused one is left out."""
    return trials if suite.sampler.name == "grid" or space.size <= trials else trials * DRAWS_PER_TRIAL


def _objectives(suite: Suite, track: Track) -> tuple[Metric, ...]:
    if suite.objectives is None:
        return (track.primary,)
    known = {metric.name: metric for metric in metrics_of(track)}
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
    _check_fits(suite, study)
    if sampler == "grid":
        size = study.space.grid_size(suite.sampler.points)
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
    if suite.scheduler.name == "pbt":
        _check_population(study, numeric)


def _check_fits(suite: Suite, study: Study) -> None:
    """Refuses starting points, conditions and weighted choices that the sampler would pass over in silence."""
    sampler = suite.sampler.name
    if study.start and sampler in ("grid", "bilevel"):
        raise ConfigError(f"sampler {sampler} has no place for starting points of {study.entry}: leave `start` out, or use tpe")
    if study.start and len(study.start) >= study.trials:
        raise ConfigError(
            f"{study.entry} has {len(study.start)} starting points after its default, but {study.trials} trials: raise trials"
        )
    if study.space.odds and sampler == "grid":
        weighted = ", ".join(study.space.odds)
        raise ConfigError(f"sampler grid tries each choice of {weighted} of {study.entry}: leave `weights` out, or use tpe")
    if study.space.when and (sampler not in CONDITIONAL or suite.scheduler.name == "pbt"):
        what = "scheduler pbt" if suite.scheduler.name == "pbt" else f"sampler {sampler}"
        conditional = ", ".join(study.space.when)
        raise ConfigError(
            f"{what} needs the same settings in all trials, but {conditional} of {study.entry} is searched under a condition: "
            f"leave `when` out, or use sampler {' or '.join(CONDITIONAL)} without pbt"
        )


def _check_population(study: Study, numeric: list[str]) -> None:
    if not numeric:
        raise ConfigError(f"scheduler pbt changes numeric settings while training, {study.entry} searches none")
    changeable = study.example.changeable
    if stiff := [name for name in study.space if name not in changeable]:
        raise ConfigError(
            f"scheduler pbt changes settings while a model trains, but {', '.join(stiff)} of {study.entry} cannot change then: "
            "fix what cannot under `settings`, or use another scheduler"
        )
