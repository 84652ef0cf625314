"""The studies of a sweep as ``suite.json`` has them: a resumed sweep goes on as planned, whatever the defaults are today."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from optuna.distributions import json_to_distribution

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method, Metric
from regbench.methods.registry import create, method_class
from regbench.platform.inventory.inventory import inventory
from regbench.platform.records.records import Records
from regbench.platform.records.suite_file import FILE, DamagedSuiteError, read_suite_file
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.spec import Suite, parse_suite

# What earlier versions did not write: where it is missing, the suite is planned anew and what is recorded put over it.
NEEDED = {"entry", "method", "data", "fixed", "space", "trials", "objectives", "modes"}


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
        version = (recorded.get("provenance") or {}).get("regbench")
        raise ConfigError(
            f"sweep '{name}' cannot go on here: {error}"
            + (f" (it was started with regbench {version}; its results can be compared without)" if version else "")
        ) from None


def recorded_suite(recorded: dict[str, Any], records: Records) -> Suite:
    """The suite in what ``suite.json`` holds.

    Raises:
        DamagedSuiteError: it is none, for this version of regbench.
    """
    try:
        return parse_suite(recorded["suite"], "suite")
    except ConfigError as error:
        raise DamagedSuiteError(records.storage, f"holds a suite that cannot be read ({error})") from None


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
    complete = all(study.keys() >= NEEDED for study in described)
    if suite.sampler.name == "bilevel":
        complete &= all("learning_rounds" in study for study in described)
    today = {} if complete else {study.name: vars(study) for study in studies(suite)}
    return [_study(suite, study, today.get(f"{study.get('entry')}-{study.get('data')}", {}), records) for study in described]


def _study(suite: Suite, described: dict[str, Any], today: dict[str, Any], records: Records) -> Study:
    """What is recorded, by the names of a study's fields; today's plan only for what is not."""
    method = method_class(described["method"])
    facts = {
        field.name: _READERS.get(field.name, _as_it_is)(described, method, field.name)
        for field in fields(Study)
        if field.name in described and (field.name != "objectives" or "modes" in described)
    }
    given: dict[str, Any] = {"sweep": suite.name, "seed": suite.seed}
    study = Study(**given | today | facts)
    settings = described.get("settings") or _settings_of(study, records)
    if settings is None:
        return study
    # Every other setting with the value that it had: a default that has changed since is another training.
    fixed = {name: value for name, value in settings.items() if name not in study.space}
    create(method.slug, fixed)
    return Study(**vars(study) | {"fixed": fixed})


def _settings_of(study: Study, records: Records) -> dict[str, Any] | None:
    """Every setting of a study's first trial, for sweeps of versions that did not note them in ``suite.json``."""
    found = records.specification(f"{study.name}-tune-0000")
    return found.settings if found else None


def _as_it_is(described: dict[str, Any], method: type[Method], name: str) -> Any:
    return described[name]


def _method(described: dict[str, Any], method: type[Method], name: str) -> type[Method]:
    return method


def _space(described: dict[str, Any], method: type[Method], name: str) -> dict[str, Any]:
    try:
        return {setting: json_to_distribution(text) for setting, text in described[name].items()}
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{FILE} holds a range of {described['entry']} that is none") from None


def _objectives(described: dict[str, Any], method: type[Method], name: str) -> tuple[Metric, ...]:
    needs = {metric.validation: metric.needs for metric in method.track.metrics}
    pairs = zip(described[name], described["modes"], strict=True)
    return tuple(Metric(metric.removeprefix("val/"), mode, needs.get(metric)) for metric, mode in pairs)


# Fields of a study that ``Study.describe`` does not write as they are.
_READERS: dict[str, Callable[[dict[str, Any], type[Method], str], Any]] = {
    "method": _method,
    "space": _space,
    "objectives": _objectives,
}
