"""Writes the reference pages that follow from the code: the suite file, the results' schema, the methods.

    python docs/generate.py

A test fails when a page is not what this script writes.
"""

import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import pyarrow as pa
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from regbench.methods.method import Paper
from regbench.methods.registry import all_methods, tracks
from regbench.platform.comparison import diagnosis_charts, result_charts
from regbench.platform.comparison.charts import standalone
from regbench.platform.comparison.effects import Claim, cells, effects_of, how, measured_claims, measured_methods, note
from regbench.platform.comparison.effects_plots import claims_plot, effect_plot
from regbench.platform.comparison.looks import looks
from regbench.platform.comparison.measurement import plotted
from regbench.platform.comparison.papers import LEGEND, Headline, cost_text, effect_text, headlines
from regbench.platform.records.tables import CURVES, SCHEMA_VERSION, TRIALS
from regbench.platform.suite.spec import Sampler, SamplerName, Scheduler, SchedulerName, Suite, incompatibilities
from regbench.search_spaces import ready_made_suites
from regbench.search_spaces.ranges import range_text, space

DOCS = Path(__file__).parent
# Where the sweeps' plots are, from the methods' pages.
PLOTS = "plots"
# What other benchmarks drew there: label and file.
DRAWN = {
    "adaptive_mi": (
        "the information plane of every layer over training, a panel an activation, and what layers lose",
        "information_plane.svg",
    ),
    "compositional_unnormalized": ("digits that each model generates from the same noise", "digit_samples.svg"),
    "depict": ("embeddings of digits, coloured by class", "embeddings.svg"),
    "diffusion_spectral_entropy": (
        "information under corrupted labels, entropy under noise, both in training, initialization, and as predictors",
        "diffusion_entropy.svg",
    ),
    "evodiff": (
        "distance to the exact flow and of distributions over evaluations of the model, a column a grid",
        "sampling_curves.svg",
    ),
    "latent_quantization": ("what each latent does to an image, its others held", "latent_traversals.svg"),
    "lego_gcd": ("accuracy of known and of novel classes over training", "forgetting.svg"),
    "rdtf": ("real clips, and those generated from the framed frames after 1,400 steps, a block a motion", "clip_strips.svg"),
    "wasserstein_dependency": (
        "accuracy of linear probes over shared factors and over the mini-batch",
        "dependency_curves.svg",
    ),
}
# What is drawn of the sweeps, with words for it.
DRAWINGS = {
    "trade_offs": (result_charts.trade_offs, "trade-off of the tuning trials"),
    "spectra": (
        diagnosis_charts.spectra,
        "spectra of the operators (filled: confirmation seeds; hollow: tuned configuration; crosses: the system's own)",
    ),
}
NOTE = "<!-- Written by docs/generate.py: change the code, then run it again. -->\n"


def suite_page() -> str:
    """The reference of suite files, from the specification's JSON schema."""
    schema = Suite.model_json_schema()
    parts = [
        NOTE,
        "# The suite file\n",
        "A suite is a YAML file. An unknown key is refused with the nearest known one, a value out of range with its range,",
        "and parts that cannot work together with what to do instead.\n",
        "`sampler: tpe` is short for `sampler: {name: tpe}`, and `methods: [ps_kd]` for `methods: {ps_kd: {}}`. Each track's",
        "baseline is added when the suite does not name it.\n",
        *_keys(schema),
    ]
    for name, definition in sorted(schema["$defs"].items()):
        used = "an item of `methods`" if name == "Entry" else f"`{name.lower()}`"
        parts += [f"## {name}: {used}\n", f"{definition['description']}\n", *_keys(definition)]
    parts += [
        "## What works together\n",
        *_pairs(),
        (DOCS / "parts" / "searching.md").read_text(encoding="utf-8"),
        (DOCS / "parts" / "deciding.md").read_text(encoding="utf-8"),
        "## A ready-made suite\n",
        "`regbench sweep quickstart` runs this one:\n",
        f"```yaml\n{ready_made_suites()['quickstart'].rstrip()}\n```",
    ]
    return "\n".join(parts) + "\n"


def _pairs() -> Iterator[str]:
    """Each sampler, and each execution, with each scheduler: yes, or the number of the reason why not."""
    schedulers: tuple[str, ...] = get_args(SchedulerName)
    rows: dict[str, dict[str, Any]] = {
        f"sampler {name}": {"sampler": Sampler(name=name), "objectives": ["accuracy", "nll"] if name == "nsga2" else None}
        for name in get_args(SamplerName)
    }
    for name in get_args(Suite.model_fields["execution"].annotation):
        rows[f"execution {name}"] = {"execution": name, "sampler": Sampler(name="random")}
    reasons: list[str] = []
    yield f"| | {' | '.join(f'`{scheduler}`' for scheduler in schedulers)} |"
    yield "|---" * (len(schedulers) + 1) + "|"
    for row, parts in rows.items():
        cells = []
        for scheduler in schedulers:
            found = incompatibilities(Suite.model_construct(scheduler=Scheduler(name=scheduler), **parts))
            # The most specific of several reasons comes last; what it says of one scheduler or sampler holds of its like.
            reason = found[-1] if found else ""
            reason = reason.replace(f"scheduler {scheduler}", "the scheduler", 1).replace(row, "the sampler")
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(f"no ({reasons.index(reason) + 1})" if reason else "yes")
        kind, name = row.split()
        yield f"| {kind} `{name}` | {' | '.join(cells)} |"
    yield ""
    yield from (f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
    yield ""


def _keys(schema: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    required = schema.get("required", [])
    for key, field in schema["properties"].items():
        default = "required" if key in required else f"`{json.dumps(_default(field.get('default')))}`"
        yield f"| `{key}` | {_type(field)} | {default} | {field.get('description', '')} |"
    yield ""


def _default(value: Any) -> Any:
    """A nested default as its name where it has one: `{"name": "tpe", "startup": null, …}` is `tpe`."""
    return value["name"] if isinstance(value, dict) and "name" in value else value


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    kind = str(field.get("type", "any"))
    limits = [
        f"{sign} {field[name]:g}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in field
    ]
    if kind == "array":
        return f"list of {_type(field['items'])}"
    values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
    if kind == "object" and isinstance(values[0], dict):
        return f"mapping to {_type(values[0])}"
    return " ".join([{"object": "mapping", "null": "null"}.get(kind, kind), *limits])


def results_page() -> str:
    """The schema of the Parquet tables."""
    parts = [
        NOTE,
        "# Results\n",
        f"Schema version {SCHEMA_VERSION}, in the Parquet metadata as `regbench.schema`. A sweep's tables are folders of",
        "Parquet files, one a trial, which any Parquet reader takes as one table:\n",
        "```python",
        "import pyarrow.dataset as ds",
        "",
        'trials = ds.dataset("regbench-results/quickstart/records/trials").to_table().to_pandas()',
        "```\n",
        "## `records/trials`: a row for each trial that has ended\n",
        *_columns(TRIALS),
        "## `records/curves`: a row for each trial, round and metric\n",
        *_columns(CURVES),
        "## Other files of a sweep\n",
        "| file | what |",
        "|---|---|",
        "| `suite.json` | the suite as it was read, its studies, versions, git commit, host, start |",
        "| `trials/KEY.json` | a trial's specification, written before it starts |",
        "| `logs/KEY/ATTEMPT.jsonl` | a line of facts and one for each report, appended by the process that trains the trial |",
        "| `checkpoints/KEY.pt` | newest state of an unfinished trial, and of each study's best one |",
        "| `report/` | the comparison: `report.html`, and each of its tables as CSV and Parquet |",
        "",
        "A trial has ended when its row in `records/trials` is there. Everything else, MLflow included, can be made again from",
        "these files: `regbench compare NAME`, `regbench sync NAME`.",
    ]
    return "\n".join(parts) + "\n"


def _columns(schema: pa.Schema) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in schema:
        yield f"| `{column.name}` | `{column.type}` | {column.metadata[b'help'].decode()} |"
    yield ""


def methods_page() -> str:
    """Every method with its paper, weights and search space."""
    parts = [NOTE, "# Methods\n", "`regbench show METHOD` prints a method's equations, settings and options.\n"]
    for name, track in sorted(tracks().items()):
        metrics = ", ".join(f"{metric.name} ({metric.mode})" for metric in track.metrics)
        data = ", ".join(track.data)
        parts += [
            f"## {name}\n",
            f"{track.help[0].upper()}{track.help[1:]}. Metrics, the first ranks: {metrics}. Data sets: {data}.\n",
            "| method | paper | weights: default (off) | searched |",
            "|---|---|---|---|",
            *(_method_row(slug) for slug, method in all_methods().items() if method.track.name == name),
            "",
        ]
    return "\n".join(parts).rstrip() + "\n"


def _method_row(slug: str) -> str:
    method = all_methods()[slug]
    weights = _lines(f"{weight.symbol} `{weight.name}` {weight.default} ({weight.off})" for weight in method.weights().values())
    searched = _lines(f"`{setting}` {range_text(limits)}" for setting, limits in space(slug).items())
    role = " (baseline)" if slug == method.track.baseline else ""
    return f"| [{slug}](methods/{slug}.md){role} | {_source(method.paper)} | {weights} | {searched} |"


def _source(paper: Paper | None) -> str:
    if paper is None:
        return ""
    link = f", [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else ""
    return f"{paper.title}, {paper.venue} {paper.year}{link}"


def _lines(items: Iterable[str]) -> str:
    return "<br>".join(item.replace("|", "\\|") for item in items)


def method_page(slug: str) -> str:
    """One method: what it computes, when to use it, its settings, what it was measured to be worth."""
    method, searched = all_methods()[slug], space(slug)
    weights = method.weights()
    inherited = {name for parent in method.__mro__[1:] for name in getattr(parent, "model_fields", {})}
    own = [name for name in method.model_fields if name in weights or name not in inherited or name in searched]
    parts = [NOTE, f"# {slug}\n", f"Track: {method.track.name}. Paper: {_source(method.paper) or 'none, a classic'}.\n"]
    parts += [_plain(inspect.getdoc(method) or ""), ""]
    if text := note(slug):
        parts += ["## When to use it\n", text.strip(), ""]
    if own:
        parts += ["## Weights and settings\n", "| setting | default | off | searched | meaning |", "|---|---|---|---|---|"]
        for name in sorted(own, key=lambda name: name not in weights):
            weight, field = weights.get(name), method.model_fields[name]
            label = f"{weight.symbol} `{name}`" if weight else f"`{name}`"
            off = f"{weight.off}" if weight else ""
            limits = range_text(searched[name]) if name in searched else ""
            parts.append(f"| {label} | {field.default} | {off} | {limits} | {_cell(field.description or '')} |")
        parts.append("")
    if effects_of(slug):
        parts += ["## Measured effect\n", *_effects(slug), f"![differences to its opponents]({slug}.svg)\n"]
        parts += [f"![{label}]({PLOTS}/{file})\n" for file, label, _ in sweep_plots(slug)]
    if slug in DRAWN:
        label, file = DRAWN[slug]
        parts += [f"Drawn by `benchmarks/{Path(file).stem}.py`: {label}.\n", f"![{label}]({PLOTS}/{file})"]
    return "\n".join(parts).rstrip() + "\n"


def _plain(text: str) -> str:
    """Text of a docstring, in which no character means anything to Markdown."""
    code = r"``[^`]+``|`[^`]+`"
    return re.sub(rf"({code})|([*_<|])", lambda found: found[1].replace("``", "`") if found[1] else f"\\{found[2]}", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _effects(slug: str) -> Iterator[str]:
    """What is claimed and what was measured, for each claim."""
    for claim in measured_claims(slug):
        yield from _claim(slug, claim)
        yield from _effect_rows(slug, claim)
        yield ""


def _claim(slug: str, claim: Claim) -> Iterator[str]:
    yield f"The paper: {claim.claim}\n"
    yield f"Measured by `regbench sweep {claim.suite}` on {claim.data}, tuned under an equal budget; {how(slug, claim)}:\n"


def _effect_rows(slug: str, claim: Claim) -> Iterator[str]:
    yield "| test metric | mean | against | difference, 95 % interval | p | verdict | cost of training, baseline = 1 |"
    yield "|---|---|---|---|---|---|---|"
    yield from (f"| {' | '.join(cells(row))} |" for row in effects_of(slug, claim))


def effects_page() -> str:
    """Every headline claim beside what was measured of it; below, folded, every measured effect."""
    shown = headlines()
    parts = [
        NOTE,
        "# Measured effects\n",
        "What was measured here of each paper's own claim, on a small benchmark: the metric, the opponent and the direction",
        "that the claim names. The method, its opponents and itself with its weights off were tuned under an equal budget and",
        "confirmed on fresh seeds; differences are paired by seed or replicate. `regbench compare --effects` shows the same;",
        "`benchmarks/effects.py` measures it, each row by the design that it names.\n",
        "![forest plot of standardized effects, to the right what the paper claims](effects.svg)\n",
        "| method | task, data | tuned weights | effect on the claim | verdict | cost | measured by | paper |",
        "|---|---|---|---|---|---|---|---|",
        *map(_headline_row, shown),
        "",
        f"{LEGEND[0].upper()}{LEGEND[1:]}. Where a suite of another size or other data was measured, too, it is below.\n",
        "## All measured effects, by method\n",
        "95 % intervals are of t or, where it was measured until decided, valid at any stopping time; p-values are of the",
        "tests that belong to them, not corrected over the page. What was tried where an effect is absent stands on the",
        "method's page, as do plots: trade-offs of two metrics, and spectra of linear operators.\n",
    ]
    findings = {headline.slug: headline.finding for headline in shown}
    for slug in measured_methods():
        parts += ["<details>", f"<summary>{slug}: {findings[slug]}</summary>\n", f"[What it is](methods/{slug}.md)\n"]
        parts += [*_effects(slug), "</details>\n"]
    return "\n".join(parts).rstrip() + "\n"


def _headline_row(headline: Headline) -> str:
    row, method = headline.row, all_methods()[headline.slug]
    cells = [f"[{headline.slug}](methods/{headline.slug}.md)", f"{method.track.name}, {row['data']}", row["weights"]]
    cells += [effect_text(headline), f"**{headline.finding}**", cost_text(row), row["design"], _short_source(method.paper)]
    return f"| {' | '.join(map(_cell, cells))} |"


def _short_source(paper: Paper | None) -> str:
    """Venue and year, as a link where there is one."""
    if paper is None:
        return ""
    place = f"{paper.venue} {paper.year}"
    return f"[{place}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else place


@cache
def sweep_plots(slug: str) -> list[tuple[str, str, str]]:
    """File name, label and SVG of each plot that was kept of the sweeps which measured a method."""
    track, found = all_methods()[slug].track.name, []
    for data in dict.fromkeys(claim.data for claim in measured_claims(slug)):
        look = looks(plotted().of("entries", track, data)["entry"])
        for name, (draw, words) in DRAWINGS.items():
            if charts := draw(plotted(), track, data, look):
                found.append((f"{name}_{track}_{data}.svg", f"{words} on {data}", standalone(charts, columns=4)))
    return found


def requirements_file() -> str:
    """What each node of a cluster of cloud machines installs: the package's dependencies and all that they bring, pinned."""
    root = DOCS.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    # Without a local version: PyTorch for CPUs, which tests use, is of no use on a GPU.
    pins = {canonicalize_name(name): pin.partition("+")[0] for name, pin in (line.split("==") for line in lines if line)}
    # The job server and the autoscaler are Ray's, on every node.
    own = [Requirement(text) for text in (*project["dependencies"], "ray[default]")]
    found: set[tuple[str, str]] = set()
    waiting = [(requirement.name, extra) for requirement in own for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonicalize_name(name), extra) in found:
            continue
        found.add((canonicalize_name(name), extra))
        for needed in map(Requirement, metadata.requires(name) or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, more) for more in ("", *needed.extras)]
    names = sorted({name for name, _ in found})
    with_extras = {name: ",".join(sorted(extra for other, extra in found if other == name and extra)) for name in names}
    head = "# Written by docs/generate.py from pyproject.toml and constraints.txt: change those, then run it again.\n"
    return head + "".join(
        f"{name}{f'[{extras}]' if (extras := with_extras[name]) else ''}=={pins[name]}\n" for name in names if name in pins
    )


PAGES: dict[str, Callable[[], str]] = {
    "../clusters/requirements.txt": requirements_file,
    "suite.md": suite_page,
    "results.md": results_page,
    "methods.md": methods_page,
    "effects.md": effects_page,
} | {f"methods/{slug}.md": partial(method_page, slug) for slug in all_methods()}

if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "regbench"
    for page, text in PAGES.items():
        (DOCS / page).write_text(text(), encoding="utf-8")
        print(f"wrote docs/{page}")
    claims_plot(headlines()).savefig(DOCS / "effects.svg", metadata={"Date": None})
    for slug in measured_methods():
        effect_plot(slug).savefig(DOCS / "methods" / f"{slug}.svg", metadata={"Date": None})
        for file, _, svg in sweep_plots(slug):
            (DOCS / "methods" / PLOTS / file).write_text(svg, encoding="utf-8")
