"""The search space of each method, and a suite's own ranges in its place."""

import importlib
import math
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

import regbench.search_spaces
from regbench.methods.errors import ConfigError, RegbenchError, nearest
from regbench.methods.registry import create, method_class
from regbench.search_spaces.space import SearchSpace

Space = dict[str, BaseDistribution]


@cache
def all_spaces() -> dict[str, Space]:
    """The default search space of every method, by slug."""
    found: dict[str, Space] = {}
    for module in pkgutil.iter_modules(regbench.search_spaces.__path__, "regbench.search_spaces."):
        if not module.ispkg and module.name not in (__name__, SearchSpace.__module__):
            found |= importlib.import_module(module.name).SPACES
    return found


def space(slug: str) -> Space:
    """The default search space of a method.

    Raises:
        ConfigError: it has none.
    """
    if slug not in all_spaces():
        raise ConfigError(
            f"{slug} has no search space: add an entry to SPACES in search_spaces/{method_class(slug).track.name}.py"
        )
    return dict(all_spaces()[slug])


def resolve(slug: str, fixed: Mapping[str, Any], ranges: Mapping[str, Any]) -> Space:
    """A method's search space in a suite: its default without the settings that are fixed, with the suite's own ranges.

    Args:
        slug: the method.
        fixed: settings with one value; these are not searched.
        ranges: setting -> ``{low, high, log, step}`` or a list of choices, in place of the default or in addition.

    Raises:
        ConfigError: a setting is unknown, both fixed and ranged, or its range holds values that the method refuses.
    """
    fields = method_class(slug).model_fields
    for name in ranges:
        if name not in fields:
            raise ConfigError(f"{slug} has no setting '{name}'; {nearest(name, fields)}")
        if name in fixed:
            raise ConfigError(f"{slug}: '{name}' is both fixed to {fixed[name]!r} and searched; keep one")
    found = {name: distribution for name, distribution in space(slug).items() if name not in fixed}
    found |= {name: distribution(slug, name, value) for name, value in ranges.items()}
    for name, limits in found.items():
        taken = [_taken(slug, name, value, fixed) for value in extremes(limits)]
        if isinstance(limits, CategoricalDistribution):
            # As the method has them: of '32' it makes 32, and records and samplers are to see no other.
            if len(set(map(repr, taken))) < len(taken):
                raise ConfigError(f"range of {slug}.{name}: a choice is there twice")
            found[name] = CategoricalDistribution(taken)
    return found


def _taken(slug: str, name: str, value: Any, fixed: Mapping[str, Any]) -> Any:
    """What the method makes of a value in a range."""
    try:
        return getattr(create(slug, {**fixed, name: value}), name)
    except RegbenchError as error:
        raise ConfigError(f"search range of {slug}.{name} includes {value!r}, which the method refuses: {error}") from None


def distribution(slug: str, name: str, value: Any) -> BaseDistribution:
    """An Optuna distribution from a suite's notation: a list of choices, or ``{low, high}`` with ``log`` or ``step``.

    Raises:
        ConfigError: it is neither, or its limits make no range.
    """
    where = f"range of {slug}.{name}"
    if isinstance(value, list) and value:
        return CategoricalDistribution(value)
    if not isinstance(value, dict) or not {"low", "high"} <= set(value):
        raise ConfigError(f"{where}: write a list of choices, or {{low: …, high: …}} with log: true or step: …")
    if unknown := set(value) - {"low", "high", "log", "step"}:
        raise ConfigError(f"{where}: unknown key '{min(unknown)}'; {nearest(min(unknown), ['low', 'high', 'log', 'step'])}")
    if not isinstance(value.get("log", False), bool):
        raise ConfigError(f"{where}: log must be true or false, not {value['log']!r}")
    numbers = {key: _number(value[key], f"{where}: {key}") for key in ("low", "high", "step") if value.get(key) is not None}
    kind: type[IntDistribution | FloatDistribution] = FloatDistribution
    if _whole(method_class(slug).model_fields[name].annotation):
        kind = IntDistribution
        for key, number in numbers.items():
            if number != int(number):
                raise ConfigError(f"{where}: {key} must be a whole number, as {name} is, not {number:g}")
        numbers = {key: int(number) for key, number in numbers.items()}
    try:
        return kind(**numbers, log=value.get("log", False))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number, without quotes, not {value!r}")
    return value


def _whole(annotation: Any) -> bool:
    """Whether a setting of this type takes whole numbers only, as ``int`` and ``int | None`` do."""
    kinds = set(get_args(annotation) or (annotation,)) - {type(None)}
    return kinds == {int}


def extremes(limits: BaseDistribution) -> tuple[Any, ...]:
    """The values at which a distribution can break a method's own limits: its ends, or its choices."""
    if isinstance(limits, CategoricalDistribution):
        return limits.choices
    assert isinstance(limits, FloatDistribution | IntDistribution)
    return (limits.low, limits.high)


def range_text(distribution: BaseDistribution) -> str:
    """A search range in a few characters, such as ``0.01 … 0.3 log``."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low:g} … {distribution.high:g}" + (" log" if distribution.log else "")
