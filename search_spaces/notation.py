"""How a suite writes a range: a list of choices, or two limits; with weights, a scale, a grid, a condition."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from regbench.methods.errors import ConfigError, nearest
from regbench.methods.registry import method_class

# Beyond, neighbouring points of a grid are the same number.
MOST_STEPS = 2**53


@dataclass(frozen=True)
class Range:
    """What a suite says of a searched setting; see ``SearchSpace``."""

    limits: BaseDistribution
    step: float | None = None
    odds: tuple[float, ...] = ()
    when: Mapping[str, list[Any]] = field(default_factory=dict)


def read_range(slug: str, name: str, value: Any) -> Range:
    """A range from a suite's notation.

    It is a list of choices, ``{choices}`` with ``weights``, or ``{low, high}`` with ``log`` and ``step``; each mapping may have
    ``when: {other: value or list of values}``.

    Raises:
        ConfigError: it is none of these, or its limits make no range.
    """
    where = f"range of {slug}.{name}"
    if isinstance(value, list):
        value = {"choices": value}
    if not isinstance(value, dict) or not ({"low", "high"} <= set(value) or value.get("choices")):
        raise ConfigError(f"{where}: write a list of choices, or {{low: …, high: …}} with log: true or step: …")
    keys = ["choices", "weights", "when"] if "choices" in value else ["low", "high", "log", "step", "when"]
    if unknown := set(value) - set(keys):
        raise ConfigError(f"{where}: unknown key '{min(unknown)}'; {nearest(min(unknown), keys)}")
    when = _condition(where, value.get("when"))
    if "choices" in value:
        if not isinstance(value["choices"], list):
            raise ConfigError(f"{where}: choices must be a list, not {value['choices']!r}")
        return Range(CategoricalDistribution(value["choices"]), odds=_odds(where, value), when=when)
    limits, step = _numeric(slug, name, value, where)
    return Range(limits, step, when=when)


def _numeric(slug: str, name: str, value: Mapping[str, Any], where: str) -> tuple[BaseDistribution, float | None]:
    """A distribution between two limits, and its step where the scale is a logarithm, of which Optuna has none."""
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log must be true or false, not {log!r}")
    given = ("low", "high") if value.get("step") is None else ("low", "high", "step")
    numbers = {key: _number(value[key], f"{where}: {key}") for key in given}
    kind: type[IntDistribution | FloatDistribution] = FloatDistribution
    if _whole(method_class(slug).model_fields[name].annotation):
        kind = IntDistribution
        for key, number in numbers.items():
            if number != int(number):
                raise ConfigError(f"{where}: {key} must be a whole number, as {name} is, not {number:g}")
        numbers = {key: int(number) for key, number in numbers.items()}
    if 0 < numbers.get("step", 0) < (numbers["high"] - numbers["low"]) / MOST_STEPS:
        raise ConfigError(f"{where}: a step of {numbers['step']:g} is too small for numbers up to {numbers['high']:g}")
    step = numbers.pop("step", None) if log else None
    if step is not None and not 0 < step <= numbers["high"] - numbers["low"]:
        raise ConfigError(f"{where}: a step of {step:g} does not lead from low to high")
    try:
        return kind(**numbers, log=log), step
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _odds(where: str, value: Mapping[str, Any]) -> tuple[float, ...]:
    """How often each choice is drawn at random, from its weights; empty without weights."""
    if (weights := value.get("weights")) is None:
        return ()
    if not isinstance(weights, list) or len(weights) != len(value["choices"]):
        raise ConfigError(f"{where}: weights must be a list of one number for each of the {len(value['choices'])} choices")
    numbers = [_number(weight, f"{where}: a weight") for weight in weights]
    if min(numbers) < 0 or not sum(numbers):
        raise ConfigError(f"{where}: weights must not be negative, nor all 0")
    return tuple(number / sum(numbers) for number in numbers)


def _condition(where: str, value: Any) -> dict[str, list[Any]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not value or not all(wanted != [] for wanted in value.values()):
        raise ConfigError(f"{where}: when must be a mapping such as {{optimizer: adam}} or {{optimizer: [adam, sgd]}}")
    return {name: wanted if isinstance(wanted, list) else [wanted] for name, wanted in value.items()}


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number, without quotes, not {value!r}")
    return value


def _whole(annotation: Any) -> bool:
    """Whether a setting of this type takes whole numbers only, as ``int`` and ``int | None`` do."""
    kinds = set(get_args(annotation) or (annotation,)) - {type(None)}
    return kinds == {int}
