"""What is put in order before a sweep goes on: specifications that were lost, ``suite.json``, the identity of a copy."""

import json
import re
import uuid
from collections import Counter
from typing import Any

from rich.console import Console

from regbench.methods.errors import ConfigError
from regbench.platform.provenance import describe
from regbench.platform.records.records import Records, Trial, study_name
from regbench.platform.records.suite_file import FILE, DamagedSuiteError, read_suite_file
from regbench.platform.suite.plan import Study, studies, with_overlaps
from regbench.platform.suite.recorded import recorded_suite
from regbench.platform.suite.spec import Suite


def drop_damaged(records: Records, console: Console) -> None:
    """Deletes what is left of trials whose specification cannot be read and which have no record: they are planned anew."""
    for key in records.damaged():
        _say(console, f"trials/{key}.json is damaged and the trial has no record: it is planned anew")
        records.forget(key)


def own_identity(records: Records, console: Console) -> None:
    """Gives a copy that stands beside its original, and goes on from here, an identity of its own.

    MLflow knows a sweep by its identity, so that one that was moved stays the same. Trials of a copy that go on to differ from
    the original's would replace those there.
    """
    recorded = read_suite_file(records.storage)
    original = (recorded.get("suite") or {}).get("name")
    if original in (None, records.storage.name):
        return
    try:
        other = read_suite_file(records.storage.sibling(original))
    except DamagedSuiteError:
        return
    if other.get("id") is None or other.get("id") != recorded.get("id"):
        return
    _say(console, f"This sweep is a copy of {original}, which is still there: from here on it is another one, in MLflow too.")
    new = {"id": uuid.uuid4().hex, "copied_from": recorded["id"]}
    records.storage.write(FILE, json.dumps(recorded | new, indent=1).encode())


def mend_suite_file(suite: Suite, records: Records, console: Console) -> None:
    """Writes the ``suite.json`` of a sweep anew where it cannot be read.

    Args:
        suite: with which the sweep was started.
        records: of the sweep.
        console: where it is said.

    Raises:
        ConfigError: the trials that there are were planned by another suite.
    """
    try:
        recorded_suite(read_suite_file(records.storage, "suite", "studies", "provenance"), records)
        return
    except DamagedSuiteError:
        pass
    planned = {study.name: study for study in studies(suite)}
    trials = records.planned()
    for trial in trials:
        if difference := _difference(trial, planned.get(study_name(trial.entry, trial.data, 0)), suite):
            raise ConfigError(
                f"{FILE} cannot be written anew from this suite: trial {trial.key} was planned by another ({difference})"
            )
    # A draw that the method refused has no rounds, and is none of a study's trials.
    tuned = Counter(
        (study_name(trial.entry, trial.data, 0), trial.replicate)
        for trial in trials
        if trial.stage == "tune" and trial.planned_rounds
    )
    for (name, _), count in tuned.items():
        if count > planned[name].trials:
            raise ConfigError(
                f"this is not the suite of the sweep, whose {FILE} is damaged: {name} has {count} trials there, "
                f"{planned[name].trials} here"
            )
    content = describe(suite, with_overlaps(suite, list(planned.values())))
    content["id"] = _identity(records) or content["id"]
    begun = {trial.study for trial in trials}
    for study in content["studies"]:
        if f"{study['entry']}-{study['data']}" in begun:
            # Its trials tell with which settings it was started, whatever the defaults are today.
            del study["settings"]
    records.storage.write(FILE, json.dumps(content, indent=1).encode())
    _say(console, f"{FILE} could not be read and was written anew; the {len(trials)} trials that there are fit this suite")


def _difference(trial: Trial, study: Study | None, suite: Suite) -> str:
    """What tells a trial from those that a study plans; "" where nothing does."""
    if study is None or trial.replicate >= (suite.limit if suite.replicates > 1 else 1):
        return f"no study {trial.study} here"
    if trial.method != study.method.slug:
        return f"method {trial.method} there, {study.method.slug} here"
    if trial.stage != "tune" or trial.ranges or trial.learned:
        return ""
    here = [name for name in study.space if study.space.is_active(name, trial.searched)]
    if trial.searched.keys() != set(here):
        return f"searched there: {', '.join(trial.searched)}; here: {', '.join(here)}"
    for name, value in study.fixed.items():
        if trial.settings.get(name) != value:
            return f"{name}: {trial.settings.get(name)} there, {value} here"
    outside = [name for name, value in trial.searched.items() if not study.space.holds(name, value)]
    return f"{outside[0]}: {trial.searched[outside[0]]} is outside of the range here" if outside else ""


def _identity(records: Records) -> str | None:
    """What a cut file still tells of the sweep's identity, by which MLflow knows it."""
    try:
        found = re.search(rb'"id": ?"([0-9a-f]{32})"', records.storage.read(FILE))
    except FileNotFoundError:
        return None
    return found[1].decode() if found else None


def _say(console: Console, text: Any) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
