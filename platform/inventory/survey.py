"""Reads the inventory off the code: imports every method, every search space and every data set."""

import inspect
import re
from typing import Any

from regbench.methods.method import Method
from regbench.methods.metrics import metrics_of
from regbench.methods.registry import all_methods, data_of, tracks
from regbench.methods.shared.bilevel.weights import learnable
from regbench.methods.shared.data import sources
from regbench.platform.inventory.facts import DataFacts, Inventory, MethodFacts, MetricFacts, SettingFacts, TrackFacts
from regbench.search_spaces.ranges import range_text, space


def survey() -> Inventory:
    """All that there is."""
    return Inventory(
        tracks={
            name: TrackFacts(
                name=name,
                help=track.help,
                metrics=[MetricFacts(name=metric.name, mode=metric.mode) for metric in metrics_of(track)],
                data=data_of(track),
                baseline=track.baseline,
            )
            for name, track in sorted(tracks().items())
        },
        methods={slug: method_facts(method) for slug, method in all_methods().items()},
        data={
            name: DataFacts(name=name, help=source.help, folder=source.folder, splits=source.splits)
            for name, source in sources().items()
        },
    )


def method_facts(method: type[Method]) -> MethodFacts:
    """A method as plain data."""
    paper, learning = method.paper, learnable(method)
    source = f"{paper.authors}, {paper.venue} {paper.year}" if paper else ""
    return MethodFacts(
        slug=method.slug,
        track=method.track.name,
        doc=_reflowed(inspect.getdoc(method) or ""),
        source=source + (f", arXiv:{paper.arxiv}" if paper and paper.arxiv else ""),
        citation=paper.citation if paper else "",
        settings=_settings(method),
        learned=learning.how if method.weights() else "",
        learning=_learning_text(method),
    )


def _settings(method: type[Method]) -> list[SettingFacts]:
    weights, searched_by_default = method.weights(), space(method.slug)
    inherited = {name for parent in method.__mro__[1:] for name in getattr(parent, "model_fields", {})}
    found = []
    for name in sorted(method.model_fields, key=lambda name: (name not in weights, name in inherited)):
        field, weight = method.model_fields[name], weights.get(name)
        of_weight: dict[str, Any] = (
            {"symbol": weight.symbol, "off": str(weight.off), "differentiable": weight.differentiable} if weight else {}
        )
        searched = range_text(searched_by_default[name]) if name in searched_by_default else ""
        found.append(
            SettingFacts(name=name, default=str(field.default), help=field.description or "", searched=searched, **of_weight)
        )
    return found


def _learning_text(method: type[Method]) -> str:
    """Whether ``sampler: bilevel`` can learn the method's weights, and why not."""
    found = learnable(method)
    if found.how == "no" and not found.why_not:
        return f"Weights learned by gradient: no, {found.reason}."
    answers: dict[str, list[str]] = {}
    for name in method.weights():
        answer = f"no, {found.why_not[name]}" if name in found.why_not else found.how
        answers.setdefault(answer, []).append(name)
    return "Weights learned by gradient: " + "; ".join(f"{', '.join(names)}: {text}" for text, names in answers.items()) + "."


def _reflowed(text: str) -> str:
    """A text whose paragraphs and list items are one line each, for a terminal of any width to break."""
    return re.sub(r"(?<!\n)\n *(?!\n|- )", " ", text)
