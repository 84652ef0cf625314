"""A search space: the ranges of the searched settings, and what Optuna's distributions cannot say of them."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

Condition = Mapping[str, tuple[Any, ...]]
"""Another searched setting -> the values of it that fulfil the condition; where it names several, all must be fulfilled."""


@dataclass(frozen=True)
class SearchSpace(Mapping[str, BaseDistribution]):
    """Searched setting -> its range, in an order in which a setting comes after those on which it depends.

    Attributes:
        ranges: Optuna's distributions.
        when: setting -> the condition under which it is searched; where it is not fulfilled, it keeps its value or default.
        steps: setting with a range on a log scale -> the distance of its values, counted from the low end of the range.
        odds: setting -> how often each of its choices is drawn at random, in sum 1.
    """

    ranges: Mapping[str, BaseDistribution] = field(default_factory=dict)
    when: Mapping[str, Condition] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)
    odds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @cached_property
    def _order(self) -> tuple[str, ...]:
        before = {name: [other for other in self.when.get(name, ()) if other in self.ranges] for name in self.ranges}
        return tuple(TopologicalSorter(before).static_order())

    def __getitem__(self, name: str) -> BaseDistribution:
        return self.ranges[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self.ranges)

    def only(self, names: Callable[[str], bool]) -> "SearchSpace":
        """The part of the space that is about some of its settings."""

        def part(of: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in of.items() if names(name)}

        return SearchSpace(part(self.ranges), part(self.when), part(self.steps), part(self.odds))

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a setting is searched together with these values of searched settings."""
        return all(other in values and values[other] in wanted for other, wanted in self.when.get(name, {}).items())

    def active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some settings' values that are searched together."""
        found: dict[str, Any] = {}
        for name in self:
            if name in values and self.is_active(name, found):
                found[name] = values[name]
        return found

    def step(self, name: str) -> float | None:
        """The distance of a setting's values; None in a continuous range, and between choices."""
        limits = self[name]
        own = limits.step if isinstance(limits, FloatDistribution | IntDistribution) else None
        return self.steps.get(name, own)

    def holds(self, name: str, value: Any) -> bool:
        """Whether a value is one of a setting's range: between its ends, on its grid, among its choices."""
        limits = self[name]
        try:
            inside = bool(limits._contains(limits.to_internal_repr(value)))
        except (ValueError, TypeError):
            return False
        return inside and (name not in self.steps or math.isclose(value, self.settled(name, value), rel_tol=1e-9))

    def settled(self, name: str, value: Any) -> Any:
        """The value in a setting's range, and on its grid, that is nearest to a number; a choice as it is."""
        limits = self[name]
        if isinstance(limits, CategoricalDistribution):
            return value
        assert isinstance(limits, FloatDistribution | IntDistribution)
        value = min(max(value, limits.low), limits.high)
        step = self.step(name)
        return self._point(name, round((value - limits.low) / step)) if step else value

    def _point(self, name: str, number: int) -> float:
        """A point of a numeric setting's grid, counted from 0; computed in decimals, so that 0.1 + 2 x 0.1 is 0.3."""
        limits = self[name]
        assert isinstance(limits, FloatDistribution | IntDistribution)
        kind = int if isinstance(limits, IntDistribution) else float
        point = Decimal(str(limits.low)) + number * Decimal(str(self.step(name)))
        return min(kind(point), limits.high)

    def drawn(self, name: str, numbers: random.Random) -> Any:
        """A random value of a setting: uniform in its range or on its log scale, a choice by its odds."""
        limits = self[name]
        if isinstance(limits, CategoricalDistribution):
            return numbers.choices(limits.choices, self.odds.get(name))[0]
        assert isinstance(limits, FloatDistribution | IntDistribution)
        if limits.log:
            return self.settled(name, math.exp(numbers.uniform(math.log(limits.low), math.log(limits.high))))
        if limits.step:
            return self._point(name, numbers.randrange(int(self.count(name))))
        return numbers.uniform(limits.low, limits.high)

    def draw(self, numbers: random.Random) -> dict[str, Any]:
        """A random point."""
        point: dict[str, Any] = {}
        for name in self:
            if self.is_active(name, point):
                point[name] = self.drawn(name, numbers)
        return point

    def count(self, name: str) -> float:
        """How many values a setting has: infinitely many in a continuous range."""
        limits = self[name]
        if isinstance(limits, CategoricalDistribution):
            return len(limits.choices)
        assert isinstance(limits, FloatDistribution | IntDistribution)
        if step := self.step(name):
            return 1 + round((limits.high - limits.low) / step)
        return math.inf if limits.low < limits.high else 1

    def values_of(self, name: str) -> list[Any]:
        """Every value of a setting that has finitely many."""
        limits = self[name]
        if isinstance(limits, CategoricalDistribution):
            return list(limits.choices)
        assert isinstance(limits, FloatDistribution | IntDistribution)
        return [self._point(name, number) for number in range(int(self.count(name)))] if self.step(name) else [limits.low]

    def spread(self, name: str, points: int) -> list[Any]:
        """So many values of a setting, evenly spaced (by ratio on a log range), each once; of choices all."""
        limits = self[name]
        if isinstance(limits, CategoricalDistribution):
            return list(limits.choices)
        assert isinstance(limits, FloatDistribution | IntDistribution)
        low, high = limits.low, limits.high
        shares = [index / (points - 1) for index in range(points)]
        values = [low * (high / low) ** share if limits.log else low + (high - low) * share for share in shares]
        return list(dict.fromkeys(self.settled(name, value) for value in values))

    def points(self, count: Callable[[str], float]) -> float:
        """How many combinations there are of so many values of each setting, without making them: there may be billions."""
        deciding = self.only({other for condition in self.when.values() for other in condition}.__contains__)
        rest = [name for name in self if name not in deciding]
        return sum(
            math.prod(count(name) for name in rest if self.is_active(name, values))
            for values in deciding.combinations(deciding.values_of)
        )

    @property
    def size(self) -> float:
        """How many points the space has: infinitely many with a continuous range, 1 where there is nothing to search."""
        return self.points(self.count)

    def combinations(self, values: Callable[[str], list[Any]]) -> list[dict[str, Any]]:
        """Every combination of these values of the settings; of a setting only where it is searched."""
        found: list[dict[str, Any]] = [{}]
        for name in self:
            axis = [{name: value} for value in values(name)]
            found = [point | chosen for point in found for chosen in (axis if self.is_active(name, point) else [{}])]
        return found

    def grid(self, points: int) -> list[dict[str, Any]]:
        """Every combination of so many values of each setting."""
        return self.combinations(lambda name: self.spread(name, points))

    def grid_size(self, points: int) -> int:
        """How many combinations that are."""
        return int(self.points(lambda name: len(self.spread(name, points))))

    def all_points(self) -> list[dict[str, Any]]:
        """Every point of a finite space."""
        return self.combinations(self.values_of)

    def describe(self) -> dict[str, Any]:
        """As JSON-ready facts, from which ``read_space`` makes the same space."""
        return {
            "space": {name: distribution_to_json(limits) for name, limits in self.items()},
            "when": {
                name: {other: list(wanted) for other, wanted in condition.items()} for name, condition in self.when.items()
            },
            "steps": dict(self.steps),
            "odds": {name: list(odds) for name, odds in self.odds.items()},
        }


def read_space(facts: Mapping[str, Any]) -> SearchSpace:
    """The space that facts in ``suite.json`` describe; those of older versions have neither conditions, steps nor odds.

    Raises:
        ValueError: they describe none.
    """
    try:
        space = SearchSpace(
            {name: json_to_distribution(text) for name, text in facts.get("space", {}).items()},
            {
                name: {other: tuple(wanted) for other, wanted in condition.items()}
                for name, condition in facts.get("when", {}).items()
            },
            {name: float(step) for name, step in facts.get("steps", {}).items()},
            {name: tuple(map(float, odds)) for name, odds in facts.get("odds", {}).items()},
        )
        # An order in which settings can be drawn, and points in every range.
        space.draw(random.Random(0))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return space
