"""What there is, as terminal tables: methods, data sets, and what a suite would run."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Group
from rich.table import Table
from rich.text import Text

from regbench.methods.method import Method, Track
from regbench.methods.shared.bilevel.weights import learnable
from regbench.methods.shared.data import data_root, sources
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite


def methods_table(track: Track, methods: Iterable[type[Method]]) -> Table:
    """The methods of a track: paper, weights with default and off value, and whether ``sampler: bilevel`` can learn them."""
    table = Table(
        title=f"[bold]{track.name}[/bold]: {track.help}; ranked by {track.primary.name} ({track.primary.mode})",
        title_justify="left",
        header_style="dim",
    )
    table.add_column("method", no_wrap=True)
    table.add_column("paper")
    table.add_column("weights: symbol = default (off), ∂ = differentiable")
    table.add_column("learned by gradient")
    for method in methods:
        weights = [
            f"{weight.name}: {weight.symbol} = {weight.default} ({weight.off})" + (" ∂" if weight.differentiable else "")
            for weight in method.weights().values()
        ]
        name = f"{method.slug} [dim](baseline)[/dim]" if method.slug == track.baseline else method.slug
        paper = method.paper
        source = (
            f"{paper.authors}, {paper.venue} {paper.year}" + (f", arXiv:{paper.arxiv}" if paper.arxiv else "") if paper else ""
        )
        table.add_row(name, source, "\n".join(weights), learnable(method).how if weights else "")
    return table


def method_page(method: type[Method], space: dict[str, BaseDistribution]) -> Group:
    """One method: its docstring, its paper, and its settings with defaults, off values and search ranges."""
    parts: list[Any] = [
        Text(f"{method.slug} ({method.track.name})", style="bold"),
        Text(_reflowed(inspect.getdoc(method) or "")),
    ]
    if method.paper:
        parts.append(Text(f"\n{method.paper.citation}", style="italic"))
    table = Table(header_style="dim", title_justify="left")
    for column in ("setting", "default", "off", "searched", "meaning"):
        table.add_column(column, no_wrap=column == "setting")
    weights = method.weights()
    # The method's own settings first: those that it adds to its track's task.
    inherited = {name for parent in method.__mro__[1:] for name in getattr(parent, "model_fields", {})}
    for name in sorted(method.model_fields, key=lambda name: (name not in weights, name in inherited)):
        field = method.model_fields[name]
        weight = weights.get(name)
        table.add_row(
            f"[bold]{name}[/bold] {weight.symbol}" if weight else name,
            str(field.default),
            str(weight.off) if weight else "",
            range_text(space[name]) if name in space else "",
            field.description or "",
        )
    return Group(*parts, table, Text(_learning_text(method)))


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


def range_text(distribution: BaseDistribution) -> str:
    """A search range in a few characters, such as ``0.01 … 0.3 log``."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low:g} … {distribution.high:g}" + (" log" if distribution.log else "")


def plan_table(suite: Suite, studies: Iterable[Study]) -> Table:
    """What a suite would run: its studies, what each searches, and how many trials there are."""
    table = Table(
        title=f"[bold]{suite.name}[/bold]: sampler {suite.sampler.name}, scheduler {suite.scheduler.name}, "
        f"execution {suite.execution}",
        title_justify="left",
        header_style="dim",
    )
    for column in ("study", "objective", "tune", "confirm", "ablate", "searched"):
        table.add_column(column, no_wrap=column == "study")
    for study in studies:
        table.add_row(
            study.name,
            ", ".join(f"{metric.validation} ({metric.mode})" for metric in study.objectives),
            str(study.trials),
            str(suite.confirm.seeds),
            str(suite.confirm.seeds if suite.confirm.ablate and study.method.weights() else 0),
            "\n".join(f"{name}: {range_text(limits)}" for name, limits in study.space.items()) + _learned_text(study),
        )
    return table


def _learned_text(study: Study) -> str:
    """How a study's tuning trial learns, if it does."""
    if study.learning_rounds:
        return f"\nlearned in {study.learning_rounds} upper iterations"
    learned = study.trial("tune", 0, study.seed, {}).learned
    return f"learned by {learned}" if learned else ""


def data_table() -> Table:
    """The data sets, what they are, and whether their files are here."""
    table = Table(header_style="dim")
    for column in ("data set", "what", "files"):
        table.add_column(column, no_wrap=column == "data set")
    root = data_root()
    for source in sources().values():
        if source.folder is None:
            files = "embedded"
        elif root is not None and (root / source.folder).is_dir():
            files = "here"
        else:
            files = f"missing: put them into {root or '$REGBENCH_DATA'}/{source.folder}"
        table.add_row(source.name, source.help, files)
    return table
