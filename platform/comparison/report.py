"""The report: a comparison as one self-contained HTML page, which loads nothing, and is whole without its scripts."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from regbench.methods.registry import find_method
from regbench.platform.comparison import outcomes, text
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.frames import Comparison
from regbench.platform.comparison.gallery import Gallery
from regbench.platform.comparison.importance import IMPORTANCE_TRIALS
from regbench.platform.comparison.looks import looks, outline
from regbench.platform.comparison.run_facts import run_facts
from regbench.platform.comparison.sections import matrices, over_data_sets, section
from regbench.platform.comparison.statistics import ALPHA
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

FOLDER = Path(__file__).parent
# In this order: what a page is like, its tables, its charts.
SCRIPTS = ("page.js", "sorting.js", "charts.js")


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
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": text.number,
        "p": text.p_text,
        "duration": text.duration,
        "settings": text.configuration_text,
        "direction": text.direction,
        "kind": outcomes.kind,
        "symbol": outcomes.symbol,
    }
    look, gallery = looks(comparison.entries["entry"]), Gallery()
    swatch = Markup('<svg class="swatch" viewBox="-1 -1 2 2" aria-hidden="true"><use href="#look{}"/></svg>')
    swatches = {entry: swatch.format(number) for number, entry in enumerate(look)}
    environment.globals |= {"mean": text.mean_text, "difference": text.difference_text, "swatches": swatches}
    sections = [section(comparison, number, *place, look, gallery) for number, place in enumerate(comparison.tables(), 1)]
    tracks = [over_data_sets(comparison, track, look, gallery) for track in comparison.friedman["track"]]
    return environment.get_template("report.html").render(
        title=" and ".join(comparison.suites) or "empty sweep",
        sweeps=[run_facts(name, suite, comparison) for name, suite in comparison.suites.items()],
        sections=sections,
        matrices=matrices(comparison),
        tracks=tracks,
        outlines=[(outline(item), item.colour) for item in look.values()],
        notes=list(comparison.notes["note"][comparison.notes["data"] == ""]),
        papers=_papers(comparison),
        alpha=ALPHA,
        importance_trials=IMPORTANCE_TRIALS,
        meanings={outcomes.SYMBOLS[kind]: meaning for kind, meaning in outcomes.MEANINGS.items()},
        style=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
        scripts=Markup("\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)),
        packed=gallery.packed if sections else "",
    )


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
