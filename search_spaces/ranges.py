"""The search space of each method, and a suite's own ranges in its place."""

import importlib
import pkgutil
import random
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import TypeAdapter, ValidationError

import regbench.search_spaces
from regbench.methods.errors import ConfigError, nearest
from regbench.methods.method import Method
from regbench.methods.registry import create, method_class
from regbench.methods.strict import explain
from regbench.search_spaces.notation import Range, read_range
from regbench.search_spaces.space import Condition, SearchSpace

Space = dict[str, BaseDistribution]
# So many draws of a space tell whether it has a point that its method takes.
DRAWS = 1000


@cache
def all_spaces() -> dict[str, Space]:
    """The default search space of each of the product's own methods, by slug."""
    found: dict[str, Space] = {}
    for module in pkgutil.iter_modules(regbench.search_spaces.__path__, "regbench.search_spaces."):
        if not module.ispkg:
            found |= getattr(importlib.import_module(module.name), "SPACES", {})
    return found


def space(slug: str) -> Space:
    """The default search space of a method.

    Raises:
        ConfigError: it has none, or declares a range that is none.
    """
    return {name: found.limits for name, found in default_ranges(slug).items()}


def default_ranges(slug: str) -> dict[str, Range]:
    """What a method searches by default.

    A plugin's method declares ranges beside its settings, and trains as its track's baseline does: it searches what that
    searches of the settings that both have.

    Raises:
        ConfigError: it has no search space, or declares a range that is none.
    """
    own = all_spaces()
    if slug in own:
        return {name: Range(limits) for name, limits in own[slug].items()}
    method = method_class(slug)
    if method.__module__.startswith("regbench.methods."):
        raise ConfigError(f"{slug} has no search space: add an entry to SPACES in search_spaces/{method.track.name}.py")
    of_training = own.get(method.track.baseline, {})
    found = {name: Range(limits) for name, limits in of_training.items() if name in method.model_fields}
    return found | {name: read_range(slug, name, value) for name, value in method.searched().items()}


def resolve(slug: str, fixed: Mapping[str, Any], ranges: Mapping[str, Any], only: Collection[str] | None = None) -> SearchSpace:
    """A method's search space in a suite: its default without the settings that are fixed, with the suite's own ranges.

    Args:
        slug: the method.
        fixed: settings with one value; these are not searched.
        ranges: setting -> its range, see ``read_range``, in place of the default or in addition.
        only: the settings to search; None for all that have a range.

    Raises:
        ConfigError: a setting is unknown, both fixed and searched, its range holds values that the method always refuses, its
            condition cannot be, or no combination of values is taken.
    """
    fields = method_class(slug).model_fields
    for name in (*ranges, *(only or ())):
        if name not in fields:
            raise ConfigError(f"{slug} has no setting '{name}'; {nearest(name, fields)}")
        if name in fixed:
            raise ConfigError(f"{slug}: '{name}' is both fixed to {fixed[name]!r} and searched; keep one")
    given = {name: found for name, found in default_ranges(slug).items() if name not in fixed}
    given |= {name: read_range(slug, name, value) for name, value in ranges.items()}
    if only is not None:
        if without := [name for name in only if name not in given]:
            raise ConfigError(f"{slug} has no range of {without[0]} by default: give it one under `space`")
        given = {name: given[name] for name in given if name in only}
    distributions = {name: _accepted(slug, name, found.limits, fixed) for name, found in given.items()}
    conditions = {name: found.when for name, found in given.items() if found.when}
    when, never = decide(slug, fixed, distributions, conditions)
    found = SearchSpace(
        {name: limits for name, limits in distributions.items() if name not in never},
        when,
        {name: range_.step for name, range_ in given.items() if range_.step and name not in never},
        {name: range_.odds for name, range_ in given.items() if range_.odds and name not in never},
    )
    accepted_draw(slug, fixed, found)
    return found


def _accepted(slug: str, name: str, limits: BaseDistribution, fixed: Mapping[str, Any]) -> BaseDistribution:
    """A distribution whose ends or choices the method takes; choices as the method has them: of '32' it makes 32."""
    taken = [as_taken(slug, name, value, fixed) for value in extremes(limits)]
    if not isinstance(limits, CategoricalDistribution):
        return limits
    if len(set(map(repr, taken))) < len(taken):
        raise ConfigError(f"range of {slug}.{name}: a choice is there twice")
    return CategoricalDistribution(taken)


def as_taken(slug: str, name: str, value: Any, fixed: Mapping[str, Any]) -> Any:
    """What the method makes of a value in a range, whatever values the other settings will have beside it."""
    method = method_class(slug)
    try:
        return getattr(method(**{**fixed, name: value}), name)
    except ValidationError as error:
        if any(item["loc"][:1] == (name,) for item in error.errors(include_url=False)):
            raise ConfigError(
                f"search range of {slug}.{name} includes {value!r}, which the method refuses: {explain(error)}"
            ) from None
    field = method.model_fields[name]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind).validate_python(value)


def example(slug: str, fixed: Mapping[str, Any], space: SearchSpace) -> Method:
    """A configuration that the method takes: its own defaults beside what is fixed, or else a draw of the space.

    Raises:
        ConfigError: a fixed value is refused, or every draw is.
    """
    try:
        return create(slug, fixed)
    except ConfigError:
        return accepted_draw(slug, fixed, space)


def accepted_draw(slug: str, fixed: Mapping[str, Any], space: SearchSpace) -> Method:
    """The first of many draws of a space that the method takes.

    Raises:
        ConfigError: it takes none.
    """
    numbers = random.Random(0)
    for _ in range(DRAWS if space else 0):
        with suppress(ConfigError):
            return create(slug, {**fixed, **space.draw(numbers)})
    return create(slug, {**fixed, **space.draw(numbers)})


def decide(
    slug: str,
    fixed: Mapping[str, Any],
    searched: Mapping[str, BaseDistribution],
    conditions: Mapping[str, Mapping[str, list[Any]]],
) -> tuple[dict[str, Condition], set[str]]:
    """What is left of conditions when those on settings that are not searched are decided by the values that these have.

    Returns:
        The conditions on searched settings, and the settings that are never searched.

    Raises:
        ConfigError: a condition is about no setting, none with choices, or a choice that is not there; or they form a circle.
    """
    method = method_class(slug)
    when: dict[str, dict[str, tuple[Any, ...]]] = {}
    never: set[str] = set()
    try:
        order = [name for name in TopologicalSorter(conditions).static_order() if name in conditions]
    except CycleError as error:
        raise ConfigError(f"{slug}: each of {', '.join(error.args[1][1:])} is searched only when another one is") from None
    for name in order:
        for other, values in conditions[name].items():
            if other not in method.model_fields:
                raise ConfigError(f"range of {slug}.{name}: when: no setting '{other}'; {nearest(other, method.model_fields)}")
            wanted = tuple(as_taken(slug, other, value, fixed) for value in values)
            if other in never:
                never.add(name)
            elif other not in searched:
                default = method.model_fields[other].get_default(call_default_factory=True)
                if as_taken(slug, other, fixed.get(other, default), fixed) not in wanted:
                    never.add(name)
            else:
                _require_choices(f"range of {slug}.{name}: when", other, searched[other], wanted)
                when.setdefault(name, {})[other] = wanted
    return {name: condition for name, condition in when.items() if name not in never}, never


def _require_choices(where: str, other: str, limits: BaseDistribution, wanted: tuple[Any, ...]) -> None:
    if not isinstance(limits, CategoricalDistribution):
        raise ConfigError(f"{where}: {other} is searched between two limits: give it a list of choices")
    for value in wanted:
        if value not in limits.choices:
            raise ConfigError(f"{where}: {other} is never {value!r}; its choices are {range_text(limits)}")


def extremes(limits: BaseDistribution) -> tuple[Any, ...]:
    """The values at which a distribution can break a method's own limits: its ends, or its choices."""
    if isinstance(limits, CategoricalDistribution):
        return limits.choices
    assert isinstance(limits, FloatDistribution | IntDistribution)
    return (limits.low, limits.high)


def range_text(distribution: BaseDistribution, step: float | None = None, odds: tuple[float, ...] = ()) -> str:
    """A search range in a few characters, such as ``0.01 … 0.3 log``; with the step of a log range, the odds of choices."""
    if isinstance(distribution, CategoricalDistribution):
        shares = [f" ({share:.0%})" for share in odds] or [""] * len(distribution.choices)
        return ", ".join(f"{choice}{share}" for choice, share in zip(distribution.choices, shares, strict=True))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    step = step or distribution.step
    grid = f", step {step:g}" if step and step != 1 else ""
    return f"{distribution.low:g} … {distribution.high:g}" + (" log" if distribution.log else "") + grid


def searched_text(space: SearchSpace, name: str) -> str:
    """How a setting of a space is searched, such as ``0.01 … 0.3 log, when optimizer is adam or sgd``."""
    text = range_text(space[name], space.steps.get(name), space.odds.get(name, ()))
    conditions = [f"{other} is {' or '.join(map(str, wanted))}" for other, wanted in space.when.get(name, {}).items()]
    return text + (f", when {' and '.join(conditions)}" if conditions else "")
