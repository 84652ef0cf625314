"""What a sweep that has begun may become: run in another way, or more of the same. Anything else is another sweep."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data.files.spec import SOURCES, FileData
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite

# How it is run and what is said of it decides no number.
FREE = ("description", "plugins", "execution", "workers", "resources", "checkpoint_seconds", "retries", "diagnostics", "hours")
# Of these there can be more: what has run would have run so, too.
MORE = ("trials", "replicates", "at_most")
# What is said of what has run, and how much more is run for it.
JUDGED = ("until", "relevant")


def growth(before: Suite, now: Suite) -> list[str]:
    """How a suite has changed, one short text each; empty where it has not.

    Raises:
        ConfigError: what has run would not have run so: one line that names the keys.
    """
    changed = [key for key in (*FREE, *JUDGED) if getattr(before, key) != getattr(now, key)]
    found = [_told(key, getattr(before, key), getattr(now, key)) for key in changed]
    wrong = [key for key in _others() if getattr(before, key) != getattr(now, key)]
    if now.trials > before.trials and now.sampler.name == "bilevel":
        wrong.append("trials (sampler bilevel spends them on one training)")
    for key in MORE:
        had, has = getattr(before, key) or 0, getattr(now, key) or 0
        if has < had and now.until == before.until:
            wrong.append(f"{key} (there can only be more)")
        elif has > had:
            found.append(_told(key, getattr(before, key), getattr(now, key)))
    if now.replicates > 1 and (now.confirm.seeds != before.confirm.seeds or (before.until and before.replicates == 1)):
        wrong.append("confirm.seeds or replicates (the seeds of replicates follow each other, those of one go on)")
    if now.confirm.model_copy(update={"seeds": before.confirm.seeds}) != before.confirm:
        wrong.append("confirm")
    elif now.confirm.seeds < before.confirm.seeds:
        wrong.append("confirm.seeds (there can only be more)")
    elif now.confirm.seeds > before.confirm.seeds:
        found.append(_told("confirm.seeds", before.confirm.seeds, now.confirm.seeds))
    wrong += [f"methods.{name}" for name, entry in before.methods.items() if now.methods.get(name) != entry]
    found += [f"methods + {name}" for name in now.methods if name not in before.methods]
    had_data, has_data = before.data or {}, now.data or {}
    if (before.data is None) != (now.data is None) or not had_data.keys() <= has_data.keys():
        wrong.append("data")
    # Where the files are may change; what they hold is compared by content.
    wrong += [
        f"data.{name}" for name, spec in had_data.items() if name in has_data and _told_of(spec) != _told_of(has_data[name])
    ]
    found += [f"data + {name}" for name in has_data if name not in had_data]
    found += [f"data.{name} in {spec.label}" for name, spec in now.files.items() if before.files.get(name, spec) != spec]
    if wrong:
        raise ConfigError(
            f"the suite differs in {', '.join(wrong)} from the one that sweep '{before.name}' was started with. It can get "
            "more trials, confirm.seeds, replicates, methods and data, and be run in another way: for anything else, start one "
            "with --name"
        )
    return found


def grown_studies(before: list[Study], planned: list[Study]) -> list[Study]:
    """The studies of a sweep that has grown: those that it had as they were, but for how many trials they get."""
    had = {study.name: study for study in before}
    return [
        replace(had[study.name], trials=study.trials, draws=study.draws) if study.name in had else study for study in planned
    ]


def grown_suite_file(recorded: dict[str, Any], suite: Suite, studies: list[Study], changes: list[str]) -> dict[str, Any]:
    """What ``suite.json`` holds of a sweep that has grown, with when and how it did."""
    had = {(study["entry"], study["data"]): study for study in recorded["studies"]}
    entry = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "changes": changes}
    return recorded | {
        "suite": suite.model_dump(mode="json"),
        "studies": [
            had.get((study.entry, study.data), study.describe()) | {"trials": study.trials, "draws": study.draws}
            for study in studies
        ],
        "grown": [*recorded.get("grown", []), entry],
    }


def _told_of(spec: FileData | None) -> dict[str, Any] | None:
    """What is said of a data set in files, but for where they are and how they are read."""
    return spec.model_dump(exclude={*SOURCES, "in_memory"}) | {"source": spec.source} if spec else None


def _others() -> list[str]:
    return [key for key in Suite.model_fields if key not in (*FREE, *JUDGED, *MORE, "confirm", "methods", "data")]


def _told(key: str, before: Any, now: Any) -> str:
    return f"{key} {_text(before)} → {_text(now)}" if key != "description" else "description"


def _text(value: Any) -> str:
    return str(value.model_dump() if hasattr(value, "model_dump") else value)
