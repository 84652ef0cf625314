"""What was run, on what, with what: the facts of a sweep as text."""

import json
from collections.abc import Iterable
from typing import Any

from regbench.platform.comparison import text
from regbench.platform.comparison.frames import Comparison, rows_of


def run_facts(name: str, recorded: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    """Name and description of a sweep, and its facts: label -> text, for what the records tell."""
    suite, provenance = recorded.get("suite") or {}, recorded.get("provenance") or {}
    rows = rows_of(comparison.sweeps[comparison.sweeps["sweep"] == name])
    facts: dict[str, str] = {}
    if rows:
        row = rows[0]
        entries = comparison.entries[comparison.entries["sweep"] == name]
        facts["entries"] = _listed(entries["entry"])
        facts["data"] = _listed(entries["data"])
        facts["trials"] = (
            f"{row['trials']}: {row['completed']} completed, {row['stopped']} stopped early, {row['failed']} failed"
        )
        facts["started"] = f"{row['started']:%Y-%m-%d %H:%M} UTC"
        facts["wall time"] = f"{text.duration(row['wall_seconds'])}, first start to last end"
        facts["training time"] = f"{text.duration(row['training_seconds'])}, sum over trials"
        facts["machines"] = row["hosts"] + (f" ({row['devices']})" if row["devices"] else "")
    facts["search"] = _search(suite)
    facts["confirmation"] = _confirmation(suite.get("confirm") or {})
    facts["grown"] = "; ".join(f"{step['when'][:10]}: {', '.join(step['changes'])}" for step in recorded.get("grown", []))
    facts["fixed settings"] = text.configuration_text(json.dumps(suite.get("settings") or {}))
    facts["software"] = _software(provenance)
    for number, later in enumerate(recorded.get("resumed") or [], 1):
        again = "" if number == 1 else f" ({number})"
        facts[f"resumed with{again}"] = ", ".join(filter(None, (_software(later), str(later.get("git") or ""))))
    facts["git commit"] = str(provenance.get("git") or "")
    known = {label: value for label, value in facts.items() if value not in ("", text.NONE)}
    return {"name": name, "description": suite.get("description") or "", "facts": known}


def _software(provenance: dict[str, Any]) -> str:
    versions = {key: provenance.get(key) for key in ("regbench", "python", "torch", "ray", "optuna", "mlflow")}
    return ", ".join(f"{key} {version}" for key, version in versions.items() if version)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _search(suite: dict[str, Any]) -> str:
    if "trials" not in suite:
        return ""
    named = {key: (suite.get(key) or {}).get("name") for key in ("sampler", "scheduler") if isinstance(suite.get(key), dict)}
    trials = f"{suite['trials']} trials a study"
    if named.get("sampler") == "bilevel":
        trials = f"one trial a study, as long as {suite['trials']} where it learns weights"
    named["hours"] = suite.get("hours")
    counted = ["the best round of each training counts"] if suite.get("select") == "best_round" else []
    return ", ".join([trials, *(f"{key} {value}" for key, value in named.items() if value), *counted])


def _confirmation(confirm: dict[str, Any]) -> str:
    if "seeds" not in confirm:
        return ""
    if not confirm["seeds"]:
        return "none"
    first = f", from {confirm['first_seed']}" if "first_seed" in confirm else ""
    return f"{confirm['seeds']} fresh seeds{first}" + (", also with the weights off" if confirm.get("ablate") else "")
