"""Judges the comparisons of a table: each entry against the baseline, and against itself with its weights off.

In a fixed design by paired t tests over its seeds or replicates; in a sweep that ran until it was decided by the tests that
decided it, on the units that counted then. Corrected by Holm's method over the table.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from regbench.platform.comparison.candidates import Candidate
from regbench.platform.comparison.frames import Row
from regbench.platform.comparison.statistics import Paired, estimate, paired, verdict
from regbench.platform.records.records import Stage
from regbench.platform.verdicts.family import holm, levels
from regbench.platform.verdicts.table import Side, Standing, standings

BASELINE = ("better", "worse", "no difference shown")
ABLATION = ("helps", "hurts", "no effect shown")


@dataclass
class Judged:
    """The comparisons of a table with the baseline, or with the own weights off.

    Attributes:
        rows: by entry, the columns of ``PAIRED``.
        differences: by entry, the differences that count, by seed or replicate.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    differences: dict[str, dict[int, float]] = field(default_factory=dict)


def judge(candidates: list[Candidate], baselines: Mapping[str, Candidate]) -> tuple[Judged, Judged]:
    """Judges a table; tells each candidate how many of its units count.

    Args:
        candidates: of the table.
        baselines: by sweep.

    Returns:
        The comparisons with the baseline, and those with the own weights off.
    """
    to_baseline, to_itself = Judged(), Judged()
    by_source: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_source[candidate.source.name].append(candidate)
    fixed: list[Candidate] = []
    for found in by_source.values():
        baseline = baselines.get(found[0].source.name)
        if found[0].source.design.at_most is not None and baseline is not None and baseline.source is found[0].source:
            _judge_decided(found, baseline, to_baseline, to_itself)
        else:
            fixed += found
    _judge_fixed(fixed, baselines, to_baseline, to_itself)
    return to_baseline, to_itself


def _judge_decided(candidates: list[Candidate], baseline: Candidate, to_baseline: Judged, to_itself: Judged) -> None:
    source = baseline.source
    sides = [Side(c.label, c.replicates, source.planned(c.name, c.data), source.ablated(c.name, c.data)) for c in candidates]
    overlap = source.overlap(baseline.name, baseline.data)
    metric = baseline.yardstick.metric
    first, second = standings(sides, baseline.label, metric, source.design, overlap)
    for found, judged, words in ((first, to_baseline, BASELINE), (second, to_itself, ABLATION)):
        for label, standing in found.items():
            judged.rows[label] = _decided_row(standing, baseline, words)
            # Seeds count from the first, replicates from 0.
            start = 0 if source.design.by_replicate else source.design.first_seed
            judged.differences[label] = {
                start + number: value for number, value in enumerate(standing.differences) if math.isfinite(value)
            }
    for candidate in candidates:
        own = [found[candidate.label].decision.units for found in (first, second) if candidate.label in found]
        of_others = [standing.decision.units for standing in first.values()] if candidate is baseline else []
        candidate.counted = max([*own, *of_others], default=None)


def _decided_row(standing: Standing, baseline: Candidate, words: tuple[str, str, str]) -> Row:
    decision = standing.decision
    unit = baseline.source.design.unit_name
    kept = [value for value in standing.differences if math.isfinite(value)]
    good, bad, _ = words
    mean = fmean(kept) if kept else math.nan
    upward = good if baseline.yardstick.mode == "max" else bad
    downward = bad if upward == good else good
    n = f"{len(kept)} {unit}s"
    said = {
        "above": upward,
        "below": downward,
        "equivalent": "equivalent",
        "constant": f"{upward if mean > 0 else downward} by the same amount at all {n}: nothing to test",
        "undecided": f"undecided at {n}",
        "open": f"undecided so far, at {n}",
    }
    low, high = (value if math.isfinite(value) else math.nan for value in (decision.low, decision.high))
    return {"pairs": len(kept), "value": mean, "low": low, "high": high, "p": decision.p, "p_holm": decision.p_holm} | {
        "verdict": said[decision.end]
    }


def _judge_fixed(
    candidates: Iterable[Candidate], baselines: Mapping[str, Candidate], to_baseline: Judged, to_itself: Judged
) -> None:
    pairs: dict[str, Paired] = {}
    ablations: dict[str, Paired] = {}
    by_label = {c.label: c for c in candidates if c.confirmed}
    for label, c in by_label.items():
        if baselines and c is not (baseline := baselines[c.source.name]):
            pairs[label] = _pair(c, c.confirmed, baseline, baseline.confirmed, "confirm")
        if c.stage("ablate"):
            ablations[label] = _pair(c, c.confirmed, c, c.scores("ablate", c.yardstick.metric), "ablate")
    for found, judged, words in ((pairs, to_baseline, BASELINE), (ablations, to_itself, ABLATION)):
        p = [pair.p for pair in found.values()]
        for (label, pair), corrected, alpha in zip(found.items(), holm(p), levels(p), strict=True):
            judged.rows[label] = _fixed_row(pair, corrected, alpha, by_label[label], baselines, words)
            judged.differences[label] = pair.differences


def _pair(own: Candidate, scores: Mapping[int, float], other: Candidate, others: Mapping[int, float], stage: Stage) -> Paired:
    """Paired by seed; where both have replicates, the means of a replicate over the seeds that both have are the pairs."""
    if not (own.source.design.by_replicate and other.source.design.by_replicate):
        return paired(scores, others)
    seeds, metric = scores.keys() & others.keys(), own.yardstick.metric
    first, second = own.unit_scores("confirm", metric, seeds), other.unit_scores(stage, metric, seeds)
    return paired(first, second, own.correlation)


def _fixed_row(
    pair: Paired,
    corrected: float,
    alpha: float,
    candidate: Candidate,
    baselines: Mapping[str, Candidate],
    words: tuple[str, str, str],
) -> Row:
    interval = estimate(list(pair.differences.values()), candidate.correlation, alpha)
    said = verdict(pair, corrected, candidate.yardstick.mode, words, candidate.source.design.unit_name)
    if pair.estimate.n > 1 and max(-interval.low, interval.high) <= relevant(candidate, baselines):
        said = "equivalent"
    return {"pairs": pair.estimate.n, "value": pair.estimate.mean, "low": interval.low, "high": interval.high} | {
        "p": pair.p,
        "p_holm": corrected,
        "verdict": said,
    }


def relevant(candidate: Candidate, baselines: Mapping[str, Candidate]) -> float:
    """The smallest difference that would matter to a candidate's sweep, in the metric's unit; nan where it names none."""
    baseline = baselines.get(candidate.source.name)
    if baseline is None:
        return math.nan
    design = candidate.source.design
    values = list(baseline.unit_scores("confirm", baseline.yardstick.metric).values())[: design.first]
    return design.amount(values)
