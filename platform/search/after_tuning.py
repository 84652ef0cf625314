"""What is trained of a study when its tuning has ended: the best few configurations once more, and then the chosen one."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from regbench.platform.records.choice import confirming
from regbench.platform.records.records import Stage, Trial
from regbench.platform.search.study_state import StudyState
from regbench.platform.suite.spec import Suite


def choosing(suite: Suite, state: StudyState) -> Iterator[Trial]:
    """The trials that decide between the best few configurations of a tuned study and have not begun."""
    found = state.contenders()
    if suite.choose is None or len(found) < 2:
        return
    begun = {(trial.confirms, trial.seed) for trial in state.begun if trial.stage == "choose"}
    numbers = _free(state, "choose")
    for row in found:
        for seed in suite.tuning_seeds(state.study.replicate)[1:]:
            if (row["number"], seed) not in begun:
                searched = json.loads(row["searched"])
                yield state.study.trial("choose", next(numbers), seed, searched, confirms=row["number"])


def confirmation(
    suite: Suite, state: StudyState, chosen: Mapping[str, Any], stages: Iterable[Stage], seeds: Iterable[int]
) -> Iterator[Trial]:
    """The trials of the chosen configuration on some seeds that have not begun; numbered after those of an earlier choice.

    Args:
        suite: the suite.
        state: of the study.
        chosen: row of the tuning trial that was chosen.
        stages: ``confirm``, ``ablate``, or both.
        seeds: of the trainings.
    """
    searched = json.loads(chosen["searched"])
    there = {(row["stage"], row["seed"]) for row in confirming(map(vars, state.begun), dict(chosen) | {"searched": searched})}
    seeds = list(seeds)
    for stage in stages:
        numbers = _free(state, stage)
        for seed in seeds:
            if (stage, seed) not in there:
                off, confirms = stage == "ablate", chosen["number"]
                yield state.study.trial(stage, next(numbers), seed, searched, off=off, confirms=confirms)


def _free(state: StudyState, stage: Stage) -> Iterator[int]:
    """Numbers that no trial of a stage has."""
    return itertools.count(1 + max((trial.number for trial in state.begun if trial.stage == stage), default=-1))
