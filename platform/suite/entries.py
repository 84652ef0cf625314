"""What a suite names: entries with their settings and ranges, and data sets; each with or without details."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.strict import Strict, matching

# Names become parts of file names.
Name = Annotated[
    str,
    matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "at most 64 letters, digits, '_', '-' and '.', a letter or digit first"),
]


ONLY = "only"


def _only_names(value: dict[str, Any]) -> dict[str, Any]:
    only = value.get(ONLY, [])
    if not isinstance(only, list) or not all(isinstance(name, str) for name in only):
        raise ValueError(f"only must be a list of settings, not {only!r}")
    if unused := [name for name in value if name != ONLY and ONLY in value and name not in only]:
        raise ValueError(f"'{unused[0]}' has a range, but is not among `only`; keep one")
    return value


Space = Annotated[dict[str, Any], AfterValidator(_only_names)]
Start = list[dict[str, Any]]


class Searched(Strict):
    """What a suite, or one of its entries, says of what is searched."""

    space: Space
    start: Start

    @property
    def ranges(self) -> dict[str, Any]:
        """The ranges in its ``space``."""
        return {name: value for name, value in self.space.items() if name != ONLY}

    @property
    def only(self) -> list[str] | None:
        """The settings that alone are to be searched; None where its ``space`` does not say."""
        return self.space.get(ONLY)


class Entry(Searched):
    """One method in a suite."""

    method: str | None = Field(None, description="slug of the method; by default the entry's own name")
    settings: dict[str, Any] = Field({}, description="settings with one value, not searched")
    space: Space = Field(
        {}, description="ranges in place of the suite's and of the method's search space, or in addition; `only`: see Ranges"
    )
    start: Start = Field([], description="configurations that are tried first, after the method's default")


def _distinct(names: list[Any], instead: str = "") -> list[str]:
    """Names of a list; ``instead`` says what to write, with ``{}`` for the name, where one is there twice."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"a list holds names only, not {name!r}; write a mapping of names to details")
        if names.count(name) > 1:
            raise ValueError(f"'{name}' is there twice{instead.format(name)}")
    return names


def entries(value: Any) -> Any:
    """Lets a list of names stand for a mapping without details."""
    if isinstance(value, list):
        return {name: {} for name in _distinct(value, "; give one of them another name and `method: {}`")}
    if isinstance(value, Mapping):
        return {name: entry or {} for name, entry in value.items()}
    return value


def data_sets(value: Any) -> Any:
    """Lets a list of names stand for a mapping without details."""
    return dict.fromkeys(_distinct(value)) if isinstance(value, list) else value


def shortest(data: dict[str, FileData | None] | None) -> Any:
    """A list of names where there are no details, as older versions write it."""
    if not data or not any(data.values()):
        return data and list(data)
    return {name: spec.model_dump(mode="json", exclude_defaults=True) if spec else None for name, spec in data.items()}
