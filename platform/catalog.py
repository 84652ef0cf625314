"""What there is, as terminal tables: methods, suites, data sets, and what a suite would run."""

import csv
import io
from importlib.resources import files

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regbench.methods.shared.data import data_root
from regbench.platform.comparison.text import duration
from regbench.platform.inventory.facts import MethodFacts
from regbench.platform.inventory.inventory import inventory
from regbench.platform.suite.outline import Outline, outline
from regbench.platform.suite.spec import Suite, read_suite
from regbench.search_spaces import ready_made_suites


def methods_table(track: str) -> Table:
    """The methods of a track: paper, weights with default and off value, and whether ``sampler: bilevel`` can learn them.

    Raises:
        ConfigError: there is no such track.
    """
    found = inventory().track(track)
    primary = found.metrics[0]
    table = Table(
        title=Text.assemble((found.name, "bold"), f": {found.help}; ranked by {primary.name} ({primary.mode})"),
        title_justify="left",
        header_style="dim",
    )
    table.add_column("method", no_wrap=True)
    table.add_column("paper")
    table.add_column("weights: symbol = default (off), ∂ = differentiable")
    table.add_column("learned by gradient")
    for method in inventory().methods.values():
        if method.track != track:
            continue
        weights = [
            f"{weight.name}: {weight.symbol} = {weight.default} ({weight.off})" + (" ∂" if weight.differentiable else "")
            for weight in method.weights
        ]
        name = Text.assemble(method.slug, (" (baseline)", "dim") if method.slug == found.baseline else "")
        table.add_row(name, method.source, "\n".join(weights), method.learned)
    return table


def method_page(method: MethodFacts) -> Group:
    """One method: its docstring, its paper, and its settings with defaults, off values and search ranges."""
    parts: list[RenderableType] = [Text(f"{method.slug} ({method.track})", style="bold"), Text(method.doc)]
    if method.citation:
        parts.append(Text(f"\n{method.citation}", style="italic"))
    table = Table(header_style="dim", title_justify="left")
    for column in ("setting", "default", "off", "searched", "meaning"):
        table.add_column(column, no_wrap=column == "setting")
    for setting in method.settings:
        name = Text(setting.name) if setting.symbol is None else Text.assemble((setting.name, "bold"), f" {setting.symbol}")
        table.add_row(name, setting.default, setting.off, setting.searched, setting.help)
    return Group(*parts, table, Text(method.learning))


def plan_table(suite: Suite, found: Outline, timed: tuple[str, float] | None = None) -> Group:
    """What a suite would run: its studies, what each searches, how many trials there are, and how many may be stopped.

    Args:
        suite: the suite.
        found: its studies.
        timed: the name of a sweep of it that is there, and the mean seconds of a training in that.
    """
    table = Table(
        title=Text.assemble(
            (suite.name, "bold"),
            f": sampler {suite.sampler.name}, scheduler {suite.scheduler.name}, execution {suite.execution}",
        ),
        title_justify="left",
        header_style="dim",
    )
    stages = ["tune", *(["choose"] if suite.choose else []), "confirm", "ablate"]
    for column in ("study", "objective", "rounds", *stages, "searched"):
        table.add_column(column, no_wrap=column == "study")
    for study in found.studies:
        rounds = " to ".join(map(str, dict.fromkeys((study.fewest, study.rounds))))
        numbers = [getattr(study, stage) for stage in stages]
        table.add_row(study.name, study.objectives, rounds, *map(str, numbers), "\n".join(study.searched))
    return Group(table, *(Text(line) for line in _remarks(suite, found, timed)))


def _durations(found: Outline, timed: tuple[str, float]) -> str:
    """How long trainings took in an earlier sweep, and how long all of them would take one after the other."""
    name, seconds = timed
    most = f" to {duration(seconds * (found.trainings + found.further))}" if found.further else ""
    return f"a training took {duration(seconds)} in {name}: {duration(seconds * found.trainings)}{most} of training in all"


def _remarks(suite: Suite, found: Outline, timed: tuple[str, float] | None) -> list[str]:
    """How many trainings there are in all, how long that takes, and which of them are surely trained to the end."""
    lines = [f"{found.trainings} trainings" + (f", in {found.replicates} replicates" if found.replicates > 1 else "")]
    if suite.until:
        units = "replicates" if found.replicates > 1 else "seeds"
        lines.append(
            f"then {units} one by one of what is not decided, up to {suite.at_most}: at most {found.further} trainings more"
        )
    if suite.name in ready_made_suites() and read_suite(suite.name) == suite and (minutes := _minutes().get(suite.name)):
        lines.append(f"on two cores: {' to '.join(minutes)} minutes")
    elif timed:
        lines.append(_durations(found, timed))
    few = [f"{study.name} {study.tune}" for study in found.studies if study.tune < suite.trials]
    if few and suite.sampler.name != "bilevel":
        lines.append(f"fewer points to search than {suite.trials} trials, each trained once: {', '.join(few)}")
    if graces := sorted({study.grace for study in found.studies if study.grace is not None}):
        rounds = " to ".join(map(str, dict.fromkeys((graces[0], graces[-1]))))
        lines.append(
            f"{suite.scheduler.name} may stop a tuning trial after {rounds} rounds; only those that it lets train to the end "
            f"can be chosen{_expected(suite, found)}"
        )
    return lines


def _expected(suite: Suite, found: Outline) -> str:
    """How many trials of a study asynchronous halving trains to the end when all improve alike: one in eta at each rung.

    Nobody knows where searched settings decide how many rungs a trial comes to.
    """
    if suite.scheduler.name != "asha" or any(study.fewest < study.rounds for study in found.studies):
        return ""
    left = []
    for study in found.studies:
        rung, share = study.grace or 1, 1.0
        while rung < study.rounds:
            share /= suite.scheduler.reduction
            rung *= suite.scheduler.reduction
        left.append(max(1, round(study.tune * share)))
    few, many = min(left), max(left)
    return f": about {few}{'' if few == many else f' to {many}'} of each study"


def suites_table() -> Table:
    """The ready-made suites: what they compare, on what, how many trainings that are, and how long they take."""
    minutes = _minutes()
    table = Table(header_style="dim", title="regbench sweep SUITE runs one", title_justify="left")
    table.add_column("suite", no_wrap=True)
    table.add_column("compares")
    table.add_column("on")
    table.add_column("trainings", justify="right")
    table.add_column("minutes on two cores", justify="right")
    for name in sorted(ready_made_suites(), key=lambda name: ("/" in name, name)):
        found = outline(read_suite(name))
        methods, entries, data = (
            list(dict.fromkeys(getattr(study, part) for study in found.studies)) for part in ("method", "entry", "data")
        )
        compares = ", ".join(methods) + (f" in {len(entries)} entries" if len(entries) > len(methods) else "")
        time = "made for GPUs" if "/" in name else " to ".join(minutes.get(name, ()))
        table.add_row(name, compares, ", ".join(data), str(found.trainings), time)
    return table


def _minutes() -> dict[str, list[str]]:
    """How long each suite takes, and at most where that differs, as ``benchmarks/suite_minutes.py`` measured it."""
    text = (files("regbench.search_spaces.suites") / "minutes.csv").read_text(encoding="utf-8")
    return {row["suite"]: list(filter(None, (row["minutes"], row["at_most"]))) for row in csv.DictReader(io.StringIO(text))}


def data_table() -> Table:
    """The data sets, what they are, whether they can be split anew, and whether their files are here."""
    table = Table(header_style="dim")
    for column in ("data set", "what", "resplit", "files"):
        table.add_column(column, no_wrap=column == "data set")
    root = data_root()
    for data in inventory().data.values():
        if data.folder is None:
            place = "embedded"
        elif root is not None and (root / data.folder).is_dir():
            place = "here"
        else:
            place = f"missing: put them into {root or '$REGBENCH_DATA'}/{data.folder}"
        table.add_row(data.name, data.help, "yes" if data.splits else "no", place)
    return table
