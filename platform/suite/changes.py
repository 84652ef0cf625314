"""Values given on a command line, as ``KEY=VALUE``, and a suite with other values of some keys."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from regbench.methods.errors import ConfigError
from regbench.methods.strict import Loader
from regbench.platform.suite.spec import Suite, parse_suite


def values(pairs: Iterable[str]) -> dict[str, Any]:
    """What ``KEY=VALUE`` says, each value read as YAML.

    Raises:
        ConfigError: it is something else.
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not '{pair}'")
        try:
            found[key.strip()] = yaml.load(value, Loader)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key.strip()}: '{value}' is not a YAML value") from None
    return found


def changed(suite: Mapping[str, Any], changes: Mapping[str, Any]) -> Suite:
    """A suite with other values of some keys; a key in a key is named with a dot.

    Args:
        suite: its keys, as ``suite.json`` holds them.
        changes: the other values.

    Raises:
        ConfigError: there is no such key, or a value does not fit.
    """
    raw = copy.deepcopy(dict(suite))
    for path, value in changes.items():
        *outer, key = path.split(".")
        inner: Any = raw
        for step in outer:
            inner = inner.get(step)
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {path}: a suite has no such key")
        inner[key] = value
    return parse_suite(raw, "--set")
