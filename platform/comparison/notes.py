"""What a reader must know to read the numbers rightly, one sentence each."""

import json
from collections.abc import Iterable, Mapping

from regbench.methods.registry import find_method
from regbench.platform.comparison.candidates import Candidate, on_shared_units
from regbench.platform.records.choice import refusals
from regbench.search_spaces.ranges import searched_text
from regbench.search_spaces.space import SearchSpace


def notes_on(candidates: list[Candidate], baselines: Mapping[str, Candidate]) -> Iterable[tuple[str, str]]:
    """What a reader must know to read a table rightly: entry ("" for the whole table) and one sentence."""
    yardstick = candidates[0].yardstick
    confirmed = [c for c in candidates if c.confirmed]
    seeds = sorted(set().union(*(c.confirmed for c in confirmed)))
    for c in candidates:
        yield from ((c.label, note) for note in _entry_notes(c, seeds, baselines.get(c.source.name)))
    yield from (("", note) for note in dict.fromkeys(_design_notes(confirmed)))
    if confirmed and not baselines:
        yield "", f"no confirmed baseline ({yardstick.baseline or 'the track is not installed here'}): no paired differences"
    units = {unit for c in confirmed for unit in c.unit_scores("confirm", yardstick.metric)}
    if len(confirmed) > 1 and len(blocks := on_shared_units(candidates)) < len(units):
        what = confirmed[0].source.design.unit_name
        yield "", f"ranks are over the {len(blocks)} of {len(units)} {what}s that every confirmed entry has"
    if any(c.stage("tune", "stopped") for c in candidates):
        yield (
            "",
            "trained to the end, and therefore to choose from: "
            + ", ".join(f"{c.label} {len(c.stage('tune', 'completed'))} of {len(c.stage('tune'))}" for c in candidates),
        )
    for what, values in _unequal(candidates).items():
        yield "", f"the comparison is not at equal {what}: " + ", ".join(f"{label} {value}" for label, value in values.items())


def _design_notes(confirmed: list[Candidate]) -> Iterable[str]:
    """What intervals and tests speak of."""
    for source in {c.source.name: c.source for c in confirmed}.values():
        design = source.design
        tuned = any(c.source is source and len(c.stage("tune")) > 1 for c in confirmed)
        if tuned and not design.by_replicate:
            yield "each entry was tuned once: how lucky that was is in no interval (the suite's `replicates` measures it)"
        correlations = sorted({c.correlation for c in confirmed if c.source is source} - {0.0})
        for correlation in correlations:
            yield (
                "replicates' splits overlap: variances are corrected after Nadeau and Bengio (2003), test rows / other rows "
                f"= {correlation:.2f}"
            )
        if design.at_most is not None:
            yield (
                "run until decided: tests and intervals hold whenever one stops (anytime-valid t tests, arXiv:2310.03722; "
                f"Holm), {design.first} to {design.at_most} {design.unit_name}s"
            )


def _entry_notes(candidate: Candidate, seeds: list[int], baseline: Candidate | None) -> Iterable[str]:
    test = f"test/{candidate.yardstick.metric}"
    if candidate.learned:
        again = any(row["learned"] for row in candidate.stage("confirm"))
        where = "training data, and again on each seed" if again else "validation data"
        yield f"weights learned by {candidate.learned}, in one tuning trial, on {where}"
    if candidate.best and candidate.stage("tune", "stopped") and len(candidate.stage("tune", "completed")) == 1:
        chosen = "its default settings" if candidate.best_is_default else "one configuration"
        yield f"only {chosen} trained to the end: nothing else could be chosen; raise `grace`, or use no scheduler"
    if said := refusals(candidate.stage("tune", "refused"), len(candidate.stage("tune"))):
        yield said
    if candidate.stale:
        seeds_of_tuning = ", ".join(map(str, candidate.stale))
        yield f"confirmed on seed {seeds_of_tuning} too, with which its sweep was tuned: that counts for nothing here"
    if not candidate.confirmed:
        if any(row["seed"] not in candidate.stale for row in candidate.stage("confirm", "completed")):
            yield f"its confirmation trials report no {test}"
        elif candidate.best is None:
            yield "no tuning trial was trained to its end: nothing to confirm"
        else:
            yield "not confirmed: known is only the validation value of its best tuning trial, optimistic and no test result"
        return
    if candidate.source.design.at_most is not None:
        # It has fewer than others where it was decided before them.
        seeds = sorted({row["seed"] for row in candidate.stage("confirm")})
    if missing := [seed for seed in seeds if seed not in candidate.confirmed]:
        yield f"has no result for seed {', '.join(map(str, missing))}: compared over the seeds that both sides have"
    if len(candidate.confirmed) == 1:
        yield "one seed only: no interval and no test"
    if len(values := candidate.confirmed) > 1 and max(values.values()) == min(values.values()):
        yield f"gives the same {test} at every seed: its interval has no width"
    if (tuned := candidate.trials[0]["objectives"][0]) != f"val/{candidate.yardstick.metric}":
        yield f"tuned on {tuned}, but judged on {test}"
    if baseline and baseline is not candidate and (unlike := _searched_unlike(candidate, baseline)):
        yield f"shares settings with {baseline.label} that the two do not search alike: {'; '.join(unlike)}"
    if baseline and baseline.source is not candidate.source:
        yield f"compared with {baseline.label} of another sweep, {baseline.source.name}"


def _searched_unlike(candidate: Candidate, baseline: Candidate) -> list[str]:
    """The settings that both methods have and that at least one searches, but not both in the same range."""
    methods = [find_method(c.method) for c in (candidate, baseline)]
    spaces = [c.source.space(c.name, c.trials[0]["data"]) for c in (candidate, baseline)]
    shared = [name for name in dict.fromkeys([*spaces[0], *spaces[1]]) if all(m and name in m.model_fields for m in methods)]
    told = {name: (_how_searched(candidate, spaces[0], name), _how_searched(baseline, spaces[1], name)) for name in shared}
    return [f"{name} {own}, there {other}" for name, (own, other) in told.items() if own != other and own and other]


def _how_searched(candidate: Candidate, space: SearchSpace, name: str) -> str:
    """How an entry has a setting; "" where its records do not tell."""
    if name in space:
        return searched_text(space, name)
    settings = json.loads(candidate.trials[0]["settings"])
    return f"fixed at {settings[name]}" if name in settings else ""


def _unequal(candidates: list[Candidate]) -> dict[str, dict[str, int]]:
    """Budgets that differ between the entries of a table; a training that learns by gradient has rounds of another kind."""
    searched = [c for c in candidates if c.weights and not c.learned] if any(c.learned for c in candidates) else candidates
    budgets = {
        "numbers of tuning trials": {
            c.label: len(tuning) for c in searched if (tuning := [row for row in c.stage("tune") if not row["replicate"]])
        },
        "lengths of training (rounds)": {
            c.label: max(lengths)
            for c in candidates
            if not any(row["learned"] for row in c.stage("confirm"))
            and (lengths := [row["planned_rounds"] for row in c.trials if not row["learned"]])
        },
    }
    return {what: values for what, values in budgets.items() if len(set(values.values())) > 1}
