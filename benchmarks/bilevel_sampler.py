"""Weights of a network's loss learned by gradient against TPE, at equal training cost, in passes over the training rows.

For each method, data set and objective, several seeds of:

- ``default``: the method's own weights, which both start from;
- ``bilevel``: ``sampler: bilevel``, as a suite with that many trials runs it;
- ``tpe``: that many ordinary trainings on the same weights in the same ranges, the best of which is taken (Optuna's TPE, which
  starts at the default too). It sees the objective itself, the gradient a loss that stands for it.

A row tells what was found, what it cost, and what a training from scratch with it gives on validation and test data, as a mean
over ``--confirm`` fresh seeds that all three share. ``share`` is the part of the budget: the best that was known by then.

    python benchmarks/bilevel_sampler.py

writes ``benchmarks/results/bilevel_sampler.csv``.
"""

import argparse
import csv
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from regbench.methods.classification.task import TRACK
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.weights import HYPERGRADIENT
from regbench.platform.suite.learned import weight_learning
from regbench.search_spaces.ranges import space

RESULTS = Path(__file__).parent / "results" / "bilevel_sampler.csv"
FIELDS = ["method", "data", "objective", "sampler", "seed", "share", "cost", "seconds", "weights", "validation", "test"]
METHODS = {"label_smoothing": ("smoothing",), "confidence_penalty": ("penalty",), "comp_sum": ("tau", "rho")}
DATA = ("digits_noisy", "digits_noisy40")
OBJECTIVES = ("accuracy", "nll")
SHARES = (0.25, 0.5, 0.75, 1.0)
FIRST_CONFIRMATION = 1000


@dataclass(frozen=True)
class Case:
    """What is tuned: a method's weights on a data set for a metric, with so many trials of so many epochs."""

    method: str
    data: str
    objective: str
    trials: int
    epochs: int

    @property
    def limits(self) -> dict[str, BaseDistribution]:
        """The ranges of the weights."""
        return {name: space(self.method)[name] for name in METHODS[self.method]}

    @property
    def mode(self) -> str:
        """Of the objective: ``max`` or ``min``."""
        return next(metric.mode for metric in TRACK.metrics if metric.name == self.objective)


@dataclass(frozen=True)
class Found:
    """The best weights known after some cost, in passes over the training rows, and seconds."""

    weights: dict[str, float]
    cost: float
    seconds: float


def bilevel(case: Case, seed: int) -> Iterator[Found]:
    """What the sampler has learned after each upper iteration."""
    method = create(case.method, {"epochs": case.epochs})
    ranges = {n: (d.low, d.high, d.log) for n, d in case.limits.items() if isinstance(d, FloatDistribution)}
    rounds = case.trials * case.epochs // (case.epochs + HYPERGRADIENT)
    began = time.perf_counter()
    for metrics in weight_learning(method, ranges, rounds, case.objective).train(Run(case.data, seed=seed)):
        weights = {name: metrics[f"learned/{name}"] for name in ranges}
        yield Found(weights, metrics["learn/cost"], time.perf_counter() - began)


def tpe(case: Case, seed: int) -> Iterator[Found]:
    """The best weights after each trial; one that diverges is a failed trial."""
    study = optuna.create_study(
        direction="maximize" if case.mode == "max" else "minimize", sampler=optuna.samplers.TPESampler(seed=seed)
    )
    default = create(case.method, {})
    study.enqueue_trial({name: getattr(default, name) for name in case.limits})
    began = time.perf_counter()
    for number in range(1, case.trials + 1):
        trial = study.ask(case.limits)
        *_, last = create(case.method, trial.params | {"epochs": case.epochs}).train(Run(case.data, seed=seed))
        value = last[f"val/{case.objective}"]
        if math.isfinite(value):
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.FAIL)
        yield Found(study.best_params, float(number * case.epochs), time.perf_counter() - began)


@cache
def confirmed(case: Case, weights: str, seeds: int) -> tuple[float, float]:
    """Validation and test metric of trainings from scratch, as means over fresh seeds."""
    method = create(case.method, json.loads(weights) | {"epochs": case.epochs})
    found = []
    for seed in range(FIRST_CONFIRMATION, FIRST_CONFIRMATION + seeds):
        *_, last = method.train(Run(case.data, seed=seed, test=True))
        found.append((last[f"val/{case.objective}"], last[f"test/{case.objective}"]))
    validation, test = zip(*found, strict=True)
    return statistics.fmean(validation), statistics.fmean(test)


def rows(case: Case, seeds: int, confirm: int) -> Iterator[list[object]]:
    """The table's rows of a case."""

    def row(sampler: str, seed: int, share: float, found: Found) -> list[object]:
        weights = json.dumps(found.weights)
        values = confirmed(case, weights, confirm)
        shown = json.dumps({name: float(f"{value:.4g}") for name, value in found.weights.items()})
        effort = [f"{found.cost:g}", f"{found.seconds:.1f}", shown, *(f"{value:.5g}" for value in values)]
        return [case.method, case.data, case.objective, sampler, seed, share, *effort]

    default = create(case.method, {})
    start = Found({name: getattr(default, name) for name in case.limits}, 0.0, 0.0)
    yield row("default", 0, 1.0, start)
    for seed in range(seeds):
        for name, sampler in (("bilevel", bilevel), ("tpe", tpe)):
            points = [start, *sampler(case, seed)]
            for share in SHARES:
                yield row(name, seed, share, [p for p in points if p.cost <= share * case.trials * case.epochs][-1])


def main() -> None:
    """Runs every case and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--confirm", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        for method in options.methods:
            for data in options.data:
                for objective in options.objectives:
                    for row in rows(
                        Case(method, data, objective, options.trials, options.epochs), options.seeds, options.confirm
                    ):
                        table.writerow(row)
                        file.flush()
                        print(*row, flush=True)


if __name__ == "__main__":
    main()
