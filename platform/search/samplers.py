"""Optuna's samplers on our search spaces: values on their grids, random choices by their odds."""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from regbench.platform.suite.spec import Suite
from regbench.search_spaces.space import SearchSpace


def sampler_for(suite: Suite, space: SearchSpace, seed: int, *, at_random: bool = False) -> BaseSampler:
    """The sampler that a suite names, for a space.

    Args:
        suite: names it.
        space: what it searches.
        seed: of its random numbers.
        at_random: draw at random instead.
    """
    startup: dict[str, Any] = {"n_startup_trials": suite.sampler.startup} if suite.sampler.startup else {}
    draws = RandomByOdds(space, seed)
    found: BaseSampler
    match "random" if at_random else suite.sampler.name:
        case "tpe":
            # Its multivariate density knows no settings that are not always there; a density for each group of settings does.
            with warnings.catch_warnings():
                # Of its experimental groups, which Optuna's own advice for such spaces is to use.
                warnings.simplefilter("ignore", ExperimentalWarning)
                found = tpe = TPESampler(seed=seed, group=bool(space.when), **startup)
            tpe._random_sampler = draws
        case "gp":
            found = GPSampler(seed=seed, independent_sampler=draws, **startup)
        case "cmaes":
            found = CmaEsSampler(seed=seed, independent_sampler=draws, warn_independent_sampling=False, **startup)
        case "nsga2":
            found = nsga2 = NSGAIISampler(seed=seed, population_size=min(50, max(2, suite.trials // 3)))
            nsga2._random_sampler = draws
        case _:
            found = draws
    return OnGrid(found, space)


def restarted_cmaes(space: SearchSpace, seed: int, start: Mapping[str, Any]) -> BaseSampler:
    """CMA-ES from a point."""
    draws = RandomByOdds(space, seed)
    return OnGrid(CmaEsSampler(x0=dict(start), seed=seed, independent_sampler=draws, warn_independent_sampling=False), space)


class RandomByOdds(RandomSampler):
    """Optuna's random sampler, but for choices that have odds.

    Args:
        space: holds the odds.
        seed: of its random numbers.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(seed)
        self._space = space
        self._numbers = random.Random(seed)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a setting."""
        if param_name in self._space.odds:
            return self._space.drawn(param_name, self._numbers)
        return super().sample_independent(study, trial, param_name, param_distribution)


class OnGrid(BaseSampler):
    """A sampler whose numbers are moved to the grids of a space, so that Optuna's past holds what is trained.

    Args:
        sampler: gives the numbers.
        space: has the grids.
    """

    def __init__(self, sampler: BaseSampler, space: SearchSpace) -> None:
        self._sampler = sampler
        self._space = space

    def reseed_rng(self) -> None:
        """As the sampler."""
        self._sampler.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that the sampler draws together, settled."""
        found = self._sampler.sample_relative(study, trial, search_space)
        return {name: self._settled(name, value) for name, value in found.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value that the sampler draws alone, settled."""
        return self._settled(param_name, self._sampler.sample_independent(study, trial, param_name, param_distribution))

    def _settled(self, name: str, value: Any) -> Any:
        return self._space.settled(name, value) if self._space.step(name) else value

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the sampler."""
        self._sampler.after_trial(study, trial, state, values)


def ask(study: optuna.Study, space: SearchSpace) -> optuna.Trial:
    """A trial with values of all settings that are searched together, each drawn after those on which it depends."""
    trial = study.ask()
    for name in space:
        if space.is_active(name, trial.params):
            _suggest(trial, name, space[name])
    return trial


def _suggest(trial: optuna.Trial, name: str, limits: BaseDistribution) -> None:
    if isinstance(limits, CategoricalDistribution):
        trial.suggest_categorical(name, limits.choices)
    elif isinstance(limits, IntDistribution):
        trial.suggest_int(name, limits.low, limits.high, step=limits.step, log=limits.log)
    else:
        assert isinstance(limits, FloatDistribution)
        trial.suggest_float(name, limits.low, limits.high, step=limits.step, log=limits.log)
