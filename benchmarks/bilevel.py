"""What learning parameters by gradient costs: MAID, HOAG, fixed accuracy, and search without gradients, at equal budget.

The budget counts gradients of the lower objective and products with its Hessian. Problems: ``quadratic`` (10 parameters, of
Section 4.1 of the paper), ``total_variation`` (2, on scikit-image's photographs), ``logistic_class`` (10) and
``logistic_parameter`` (640, gradients only), both on 300 digits to fit and 700 to learn on. Learners start from the same
parameters and solve the lower problem by L-BFGS from the last solution:

- ``maid_certified``, ``maid`` (without the descent test), ``maid_extended`` (Barzilai-Borwein and nonmonotone besides), each
  with a scale-free first step, and ``hoag_*`` with its three schedules, from three first accuracies;
- ``fixed``: hypergradient descent with HOAG's step rule at each of these accuracies;
- ``random``, ``tpe`` and ``cmaes`` (Optuna) with three seeds, and ``dfols`` (DFO-LS, which sees residuals). A lower solution
  ends where its gradient is 1e-4 times the first one. Optuna's samplers may ask for 500 points, because TPE slows down with
  their number.

A row tells the exact upper loss (of a tight lower solution, not counted) at the parameters that a learner had paid for at a
share of the budget, and what it had spent by then, in counts and seconds.

    python benchmarks/bilevel.py --budget 6000

writes ``benchmarks/results/bilevel.csv``.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from regbench.methods.classification.weighted_logistic_regression import Groups, LogisticRegressionProblem
from regbench.methods.errors import DivergedError
from regbench.methods.imaging.total_variation import TotalVariationProblem
from regbench.methods.shared.bilevel.derivative_free import REDUCTION, DerivativeFree, DerivativeFreeOptions
from regbench.methods.shared.bilevel.hoag import Hoag, HoagOptions
from regbench.methods.shared.bilevel.learner import Record
from regbench.methods.shared.bilevel.lower import lbfgs, solve_lower
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.bilevel.quadratic import Quadratic, random_quadratic
from regbench.methods.shared.data import load

RESULTS = Path(__file__).parent / "results" / "bilevel.csv"
FIELDS = [
    "problem",
    "learner",
    "accuracy",
    "seed",
    "share",
    "lower_iterations",
    "linear_iterations",
    "upper_iterations",
    "seconds",
    "upper_loss",
]
ACCURACIES = (1e-1, 1e-3, 1e-5)
SEARCH_TRIALS = 500
SHARES = [k / 10 for k in range(1, 11)]
SEEDS = range(3)


@dataclass(frozen=True)
class Task:
    """A problem, the range of its parameters, and whether search without gradients takes part."""

    problem: BilevelProblem
    box: tuple[float, float]
    searched: bool


def quadratic() -> Task:
    return Task(random_quadratic(), (-10.0, 10.0), True)


def total_variation() -> Task:
    noisy, clean = (images.double() for images in load("natural_images").train.tensors)
    problem = TotalVariationProblem(noisy, clean, torch.tensor([-5.0, -5.0], dtype=torch.float64))
    return Task(problem, (-8.0, 0.0), True)


def logistic(groups: Groups) -> Task:
    features, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    fit, held_out = ((features[rows] / 16, labels[rows]) for rows in (order[:300], order[300:1000]))
    problem = LogisticRegressionProblem(fit, held_out, 10, -3.0, groups)
    return Task(problem, (-12.0, 0.0), groups != "parameter")


TASKS: dict[str, Callable[[], Task]] = {
    "quadratic": quadratic,
    "total_variation": total_variation,
    "logistic_class": lambda: logistic("class"),
    "logistic_parameter": lambda: logistic("parameter"),
}


@dataclass(frozen=True)
class Point:
    """Parameters, and what had been spent when they were known."""

    theta: Tensor
    lower_iterations: int
    linear_iterations: int
    upper_iterations: int
    seconds: float

    @property
    def cost(self) -> int:
        """What counts against the budget."""
        return self.lower_iterations + self.linear_iterations


def learn(learner: Iterable[Record], budget: int) -> Iterator[Point]:
    """The points of a learner until its budget is spent, it stops, or it diverges."""
    began = time.perf_counter()
    try:
        for record in learner:
            spent = record.lower_iterations, record.linear_iterations, record.iteration
            yield Point(record.theta, *spent, time.perf_counter() - began)
            if record.cost > budget:
                return
    except DivergedError:
        return


def runs(task: Task, budget: int) -> Iterator[tuple[str, float, int, list[Point]]]:
    """Every learner on a task: name, accuracy, seed and points."""
    extended = {"barzilai_borwein": True, "nonmonotone": True}
    modes = {"maid_certified": {"check_descent": True}, "maid": {}, "maid_extended": extended}
    shared = {"lower_solver": lbfgs, "box": task.box}
    for accuracy in ACCURACIES:
        for name, mode in modes.items():
            fixed = {"lower_tolerance_init": accuracy, "step_size_init": None, "convex_upper": True, "check_descent": False}
            yield name, accuracy, 0, list(learn(Maid(task.problem, MaidOptions(**shared | fixed | mode)), budget))
        for schedule in ("geometric", "quadratic", "cubic", "constant"):
            hoag = Hoag(task.problem, HoagOptions(**shared, tolerance_init=accuracy, schedule=schedule))
            yield "fixed" if schedule == "constant" else f"hoag_{schedule}", accuracy, 0, list(learn(hoag, budget))
    if not task.searched:
        return
    search = {"lower_solver": lbfgs, "box": task.box, "max_lower_iterations": budget}
    for name in ("random", "tpe", "cmaes"):
        for seed in SEEDS:
            sampler = DerivativeFree(task.problem, DerivativeFreeOptions(**search, searcher=name, seed=seed))
            yield name, REDUCTION, seed, list(learn(itertools.islice(sampler, SEARCH_TRIALS), budget))
    yield (
        "dfols",
        REDUCTION,
        0,
        list(learn(DerivativeFree(task.problem, DerivativeFreeOptions(**search, searcher="dfols")), budget)),
    )


def exact(problem: BilevelProblem, theta: Tensor) -> float:
    """f(θ) from a tight lower solution."""
    if isinstance(problem, Quadratic):
        return problem.value(theta).item()
    x = solve_lower(problem, problem.x0, theta, 1e-5, lbfgs, 20_000).x
    return problem.upper(x, theta).mean().item()


def main() -> None:
    """Runs every learner on every task, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=6000)
    parser.add_argument("--problems", nargs="+", choices=TASKS, default=list(TASKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        for name in options.problems:
            task = TASKS[name]()
            start = Point(task.problem.theta0, 0, 0, 0, 0.0)
            for learner, accuracy, seed, points in runs(task, options.budget):
                known: dict[int, float] = {}
                for share in SHARES:
                    paid = [point for point in [start, *points] if point.cost <= share * options.budget]
                    last = len(paid) - 1
                    if last not in known:
                        known[last] = exact(task.problem, paid[last].theta)
                    point = paid[last]
                    spent = point.lower_iterations, point.linear_iterations, point.upper_iterations, f"{point.seconds:.3f}"
                    table.writerow([name, learner, accuracy, seed, share, *spent, f"{known[last]:.6g}"])
                file.flush()
                print(f"{name:20} {learner:16} {accuracy:g} {seed} {known[last]:.6g} {point.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
