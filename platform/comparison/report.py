"""The report: a comparison as one self-contained HTML page, without scripts and without anything loaded from elsewhere."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from regbench.methods.registry import find_method
from regbench.platform.comparison import diagnostic_plots, plots, tables, text, tuning_plots
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.drawing import Styles, styles
from regbench.platform.comparison.frames import Comparison, rows_of
from regbench.platform.comparison.importance import IMPORTANCE_TRIALS
from regbench.platform.comparison.statistics import ALPHA
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

TEMPLATE = Path(__file__).with_name("report.html")


def publish(records: Records | list[Records], storage: Storage) -> Comparison:
    """Compares the entries of one or more sweeps; writes every table as CSV and Parquet, and the report as ``report.html``.

    Args:
        records: of a sweep, or of several.
        storage: the folder to write into.

    Returns:
        The comparison.

    Raises:
        StorageError: the records cannot be read or the folder cannot be written.
    """
    comparison = compare(records)
    comparison.write(storage)
    storage.write("report.html", render(comparison).encode())
    return comparison


def render(comparison: Comparison) -> str:
    """The report of a comparison, as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": text.number,
        "p": text.p_text,
        "duration": text.duration,
        "settings": text.configuration_text,
        "direction": text.direction,
    }
    environment.globals |= {"mean": text.mean_text, "difference": text.difference_text}
    look = styles(comparison)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=" and ".join(comparison.suites) or "empty sweep",
        sweeps=[_sweep(name, suite, comparison) for name, suite in comparison.suites.items()],
        sections=[_section(comparison, track, data, look) for track, data in comparison.tables()],
        tracks=[_track(comparison, track, look) for track in comparison.friedman["track"]],
        notes=list(comparison.notes["note"][comparison.notes["data"] == ""]),
        papers=_papers(comparison),
        alpha=ALPHA,
        importance_trials=IMPORTANCE_TRIALS,
    )


def _sweep(name: str, recorded: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    """What was run, on what, with what: label -> text, for what the records tell."""
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


def _section(comparison: Comparison, track: str, data: str, look: Styles) -> dict[str, Any]:
    """All that the page shows of a track on a data set."""
    entries = comparison.of("entries", track, data)
    first = entries.iloc[0]
    place = (comparison, track, data)
    return {
        "track": track,
        "data": data,
        "metric": first["metric"],
        "mode": first["mode"],
        "tuned_metric": first["tuned_metric"],
        "finding": finding(entries, data),
        "seeds": tables.seeds_text(entries),
        "confirmed": rows_of(entries[entries["confirmed"]]),
        "unconfirmed": rows_of(entries[~entries["confirmed"]]),
        "entries": rows_of(entries),
        "ablated": rows_of(entries[entries["ablation_pairs"] > 0]),
        "ablation_means": _means(comparison.of("metrics", track, data), first["metric"]),
        "metrics": _metrics(comparison.of("metrics", track, data), list(entries["entry"])),
        "learned": rows_of(entries[entries["learned"] != ""]),
        "missing_importance": rows_of(comparison.of("importance", track, data).query("missing != ''")),
        "failures": rows_of(comparison.of("failures", track, data)),
        "notes": tables.notes(comparison, track, data),
        "plots": {
            "forest": _drawn(plots.forest, *place, look),
            "differences": _drawn(plots.differences, *place, look, "baseline"),
            "ablation": _drawn(plots.differences, *place, look, "ablation"),
            "calibration": _drawn(plots.calibration, *place, look),
            "curves": _drawn(plots.curves, *place, look),
            "spectra": _drawn(plots.spectra, *place, look),
            "over_training": _drawn(diagnostic_plots.over_training, *place, look),
            "information_plane": _drawn(diagnostic_plots.information_plane, *place, look),
            "prediction": _drawn(diagnostic_plots.prediction, *place, look),
            "importance": _drawn(tuning_plots.importance, *place, look),
            "learning": _drawn(tuning_plots.learning, *place, look),
            "trade_offs": _drawn(plots.trade_offs, *place, look),
        },
        "sensitivity": [
            (entry, svg) for entry in entries["entry"] if (svg := _drawn(tuning_plots.sensitivity, *place, entry, look))
        ],
    }


def _drawn(draw: Callable[..., str], *arguments: Any) -> Markup:
    """A plot; one that cannot be drawn costs itself and a line, and never the page."""
    try:
        return Markup(draw(*arguments))
    except Exception as error:
        return Markup("<p>not drawn: {}</p>").format(f"{type(error).__name__}: {error}")


def finding(entries: pd.DataFrame, data: str) -> str:
    """A table's verdicts, in a sentence or two."""
    confirmed = entries[entries["confirmed"]]
    if confirmed.empty:
        return f"Nothing is confirmed on {data}: there are validation values of tuning trials, and no test results."
    judged = confirmed[confirmed["difference_pairs"] > 0]
    if judged.empty:
        return f"No confirmed baseline on {data}: means can be read, differences cannot be tested."
    baseline = " or ".join(dict.fromkeys(judged["compared_with"]))
    parts, rest = [], len(judged)
    for word in ("better", "worse"):
        names = list(judged["entry"][judged["difference_verdict"].str.startswith(word)])
        parts.append(f"{len(names)} {'is' if len(names) == 1 else 'are'} {word} than {baseline}")
        parts[-1] += f" ({_listed(names)})" if names else ""
        rest -= len(names)
    return f"Of {len(judged)} compared on {data}, {parts[0]}, {parts[1]}, and for {rest} no difference was shown."


def _means(metrics: pd.DataFrame, metric: str) -> dict[str, dict[str, Any]]:
    """Estimates of a metric with the weights off, by entry."""
    chosen = metrics[(metrics["stage"] == "ablate") & (metrics["metric"] == metric)]
    return {row["entry"]: row for row in rows_of(chosen)}


def _metrics(metrics: pd.DataFrame, order: list[str]) -> dict[str, Any]:
    """All test metrics of the confirmed configurations: column heads, and for each entry its estimates by metric."""
    confirmed = metrics[metrics["stage"] == "confirm"]
    heads = dict(zip(confirmed["metric"], confirmed["mode"], strict=True))
    estimates = {(row["entry"], row["metric"]): row for row in rows_of(confirmed)}
    present = set(confirmed["entry"])
    rows = [(entry, [estimates.get((entry, metric)) for metric in heads]) for entry in order if entry in present]
    return {"heads": list(heads.items()), "rows": rows}


def _track(comparison: Comparison, track: str, look: Styles) -> dict[str, Any]:
    """Average ranks over the data sets of a track."""
    row = comparison.friedman[comparison.friedman["track"] == track].iloc[0]
    return {
        "track": track,
        "data_sets": row["data_sets"],
        "test": tables.friedman_text(row),
        "ranks": rows_of(comparison.ranks[comparison.ranks["track"] == track]),
        "plot": _drawn(plots.critical_difference, comparison, track, look),
    }


def _papers(comparison: Comparison) -> list[dict[str, str]]:
    """Each method once: its slug, its paper's citation where it is known, its arXiv identifier."""
    methods = dict(zip(comparison.entries["method"], comparison.entries["arxiv"], strict=True))
    found = []
    for slug, arxiv in sorted(methods.items()):
        if (method := find_method(slug)) is None:
            citation = "not a method of this installation"
        elif paper := method.paper:
            citation = paper.citation.partition(", arXiv:")[0]
        else:
            citation = "no paper of its own"
        found.append({"method": slug, "citation": citation, "arxiv": arxiv})
    return found
