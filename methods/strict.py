"""What people write, read strictly: models whose unknown keys are errors, YAML in which no key stands twice."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from regbench.methods.errors import ConfigError, nearest, one_line


class Strict(BaseModel):
    """A mapping whose unknown keys are errors that name the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for key in value:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'; {nearest(str(key), cls.model_fields)}")
        return value


def matching(pattern: str, wording: str) -> AfterValidator:
    """Demands that a text matches a regular expression, which ``wording`` tells in words: "must be …"."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wording}")
        return text

    return AfterValidator(check)


# What is wrong, by pydantic's type of error, in our words; {} are pydantic's own facts.
_WORDS = {
    "missing": "is missing",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
} | {
    f"{kind}_{problem}": f"must be {what}"
    for kind, what in {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "a text",
        "list": "a list",
        "tuple": "a list",
        "dict": "a mapping",
        "mapping": "a mapping",
        "model": "a mapping",
    }.items()
    for problem in ("type", "parsing", "from_float", "parsing_size", "attributes_type")
}


def explain(error: ValidationError) -> str:
    """A pydantic error as one line in our words: where, what was wrong, and the value."""
    parts = []
    for item in error.errors(include_url=False):
        where = ".".join(str(step) for step in item["loc"] if step != "[key]")
        value = "" if isinstance(item.get("input"), dict | list) else f" (got {item.get('input')!r})"
        words = _WORDS.get(item["type"])
        message = words.format(**item.get("ctx", {})) if words else item["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {message}{value}" if where else message)
    return "; ".join(parts)


class Loader(yaml.SafeLoader):
    """Safe YAML in which ``1e-4``, ``1.0e1`` and ``-.5`` are numbers, as in YAML 1.2; a key that is there twice is an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written, before keys of others are merged into it."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.composer.ComposerError(problem=f"'{key}' is there twice", problem_mark=node.start_mark)
        return node


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$|[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)$"),
    list("-+.0123456789"),
)


def read_mapping(source: str | Path, what: str, ready_made: Mapping[str, str], keys: str) -> dict[str, Any]:
    """The mapping in a ready-made YAML text, by its name, or in a YAML file.

    Args:
        source: name or path.
        what: ``suite`` or ``cluster``, for messages.
        ready_made: texts by name.
        keys: what the mapping holds, for messages.

    Raises:
        ConfigError: there is no such name or file, or it holds no mapping.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read {what} {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not a text file in UTF-8") from None
    elif str(source) in ready_made:
        text = ready_made[str(source)]
    else:
        here = [str(file) for ending in ("yaml", "yml") for file in Path().glob(f"*.{ending}")]
        raise ConfigError(f"no {what} and no file '{source}'; {nearest(str(source), [*ready_made, *here])}")
    try:
        raw = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {one_line(error)}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{source} must hold a mapping with {keys}")
    return raw
