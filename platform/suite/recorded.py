"""The studies of a sweep as ``suite.json`` has them: a resumed sweep goes on as planned, whatever the defaults are today."""

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from typing import Any

from regbench.methods import memory
from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metric
from regbench.methods.metrics import metrics_of
from regbench.methods.registry import method_class
from regbench.methods.shared.data.files.define import define_all
from regbench.platform.inventory.inventory import inventory
from regbench.platform.records.records import Records
from regbench.platform.records.suite_file import FILE, DamagedSuiteError, read_suite_file
from regbench.platform.suite.plan import Study, draws_for, studies
from regbench.platform.suite.spec import Suite, parse_suite
from regbench.search_spaces.space import SearchSpace, read_space


def recorded_plan(records: Records) -> tuple[Suite, list[Study]]:
    """The suite and the studies of a sweep, as they were when it was started.

    Raises:
        StorageError: ``suite.json`` cannot be read.
        ConfigError: this installation has no longer what the sweep needs.
    """
    recorded = read_suite_file(records.storage, "suite", "studies")
    name = records.storage.name
    suite = recorded_suite(recorded, records)
    try:
        for described in recorded["studies"]:
            _require_installed(described)
        return suite, _studies(suite, recorded["studies"], records)
    except ConfigError as error:
        if gone := set(recorded.get("memory") or []) - set(memory.names()):
            raise ConfigError(
                f"sweep '{name}' needs {', '.join(sorted(gone))}, which existed only in the Python process that started it: "
                "register the same again, and go on with rb.sweep"
            ) from None
        version = (recorded.get("provenance") or {}).get("regbench")
        raise ConfigError(
            f"sweep '{name}' cannot go on here: {error}"
            + (f" (it was started with regbench {version}; its results can be compared without)" if version else "")
        ) from None


def recorded_suite(recorded: dict[str, Any], records: Records) -> Suite:
    """The suite in what ``suite.json`` holds; its data sets in files are known from here on.

    Raises:
        DamagedSuiteError: it is none, for this version of regbench.
    """
    try:
        suite = parse_suite(recorded["suite"], "suite")
    except ConfigError as error:
        raise DamagedSuiteError(records.storage, f"holds a suite that cannot be read ({error})") from None
    define_all(suite.files)
    return suite


def _require_installed(described: dict[str, Any]) -> None:
    """Refuses a study whose method, track or data set is not here."""
    known, slug, data = inventory(), described.get("method"), described.get("data")
    if slug not in known.methods:
        raise ConfigError(f"method '{slug}' is not installed any more")
    track = known.methods[slug].track
    if described.get("track", track) != track:
        raise ConfigError(f"method '{slug}' is of track {track} now, and was of {described['track']}")
    if data not in known.tracks[track].data:
        raise ConfigError(f"data set '{data}' of track {track} is not installed any more")


def _studies(suite: Suite, described: list[dict[str, Any]], records: Records) -> list[Study]:
    facts = [_facts(suite, study) for study in described]
    # Only where an earlier version did not note enough.
    today = {} if all(study.keys() >= NEEDED for study in facts) else {study.name: _of(study) for study in studies(suite)}
    names = [f"{study.get('entry')}-{study.get('data')}" for study in described]
    found = [Study(**today.get(name, {}) | study) for name, study in zip(names, facts, strict=True)]
    return [_with_all_settings(study, noted, records) for study, noted in zip(found, described, strict=True)]


def _facts(suite: Suite, described: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a study, by the names of its fields."""
    facts = {
        field.name: _READERS[field.name](described) if field.name in _READERS else described[field.name]
        for field in fields(Study)
        if field.name in described
    }
    if suite.sampler.name != "bilevel":
        facts.setdefault("learning_rounds", None)
    if facts.keys() >= {"space", "trials"}:
        facts.setdefault("draws", draws_for(suite, facts["space"], facts["trials"]))
    return facts | {"sweep": suite.name, "seed": suite.seed}


def _of(study: Study) -> dict[str, Any]:
    return {field.name: getattr(study, field.name) for field in fields(Study)}


def _with_all_settings(study: Study, described: dict[str, Any], records: Records) -> Study:
    """A study whose settings all have the values that they had: a default that has changed since is another training."""
    settings = described.get("settings") or _settings_of(study, records)
    if settings is not None:
        # Of a setting that is not searched in all trials, the value of the others.
        noted = {name: value for name, value in settings.items() if name not in study.space or name in study.space.when}
        study = replace(study, fixed=noted)
    # Refuses settings that the method has no longer.
    _ = study.example
    return study


def _settings_of(study: Study, records: Records) -> dict[str, Any] | None:
    """Every setting that a study's first trial did not search, for sweeps whose ``suite.json`` does not tell them."""
    found = records.specification(f"{study.name}-tune-0000")
    return {name: value for name, value in found.settings.items() if name not in found.searched} if found else None


def _method(described: dict[str, Any]) -> type[Method]:
    return method_class(described["method"])


def _space(described: dict[str, Any]) -> SearchSpace:
    try:
        return read_space(described)
    except ValueError:
        raise ConfigError(f"{FILE} holds a range of {described['entry']} that is none") from None


def _objectives(described: dict[str, Any]) -> tuple[Metric, ...]:
    known = {metric.validation: metric for metric in metrics_of(_method(described).track)}
    modes = described.get("modes") or [known[name].mode for name in described["objectives"]]
    return tuple(
        Metric(name.removeprefix("val/"), mode, known[name].needs if name in known else None)
        for name, mode in zip(described["objectives"], modes, strict=True)
    )


# Fields of a study that ``Study.describe`` does not write as they are.
_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {"method": _method, "space": _space, "objectives": _objectives}
# What a study cannot do without; other fields have defaults, as earlier versions did without them.
NEEDED = {field.name for field in fields(Study) if field.default is MISSING} | {"learning_rounds"}
