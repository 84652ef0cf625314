"""A suite's own starting points: configurations that a study tries first, checked against what it searches."""

from collections.abc import Mapping, Sequence
from typing import Any

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method
from regbench.methods.registry import create
from regbench.search_spaces.ranges import as_taken, searched_text
from regbench.search_spaces.space import SearchSpace

Point = dict[str, Any]


def starting_points(
    entry: str,
    method: type[Method],
    fixed: Mapping[str, Any],
    space: SearchSpace,
    default: Point,
    own: Sequence[Point],
    shared: Sequence[Point],
) -> tuple[Point, ...]:
    """The points that a study tries after the method's own default, each once: its entry's, then the suite's.

    A setting that a point leaves out has the method's default, where the space has that. Of the suite's points, an entry takes
    what it searches.

    Args:
        entry: its name.
        method: its method.
        fixed: settings with one value.
        space: what it searches.
        default: the method's default in the space.
        own: the points of the entry.
        shared: the points of the suite.

    Raises:
        ConfigError: an entry's point sets what it does not search, a value is out of its range, or the method refuses a point.
    """
    found = [_point(entry, method, fixed, space, default, point) for point in own]
    partial = ({name: value for name, value in point.items() if name in space} for point in shared)
    found += [_point(entry, method, fixed, space, default, point, strict=False) for point in partial if point]
    return tuple(point for number, point in enumerate(found) if point not in [default, *found[:number]])


def _point(
    entry: str,
    method: type[Method],
    fixed: Mapping[str, Any],
    space: SearchSpace,
    default: Point,
    given: Point,
    *,
    strict: bool = True,
) -> Point:
    where = f"start of {entry}"
    values: Point = {}
    for name, value in given.items():
        if name not in space:
            raise ConfigError(f"{where}: {name} is not searched: give it a range under `space`, or fix it under `settings`")
        values[name] = as_taken(method.slug, name, value, fixed)
        if not space.holds(name, values[name]):
            raise ConfigError(f"{where}: {name} {value!r} is not in its range, {searched_text(space, name)}")
        values[name] = space.settled(name, values[name])
    point = space.active(default | values)
    if strict and (idle := [name for name in values if name not in point]):
        raise ConfigError(f"{where}: {idle[0]} has a value, but is not searched there: {searched_text(space, idle[0])}")
    try:
        create(method.slug, {**fixed, **point})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return point
