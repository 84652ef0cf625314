"""What learning parameters by gradient costs: MAID, HOAG, fixed accuracy, and search without gradients, at equal budget.

The budget counts gradients of the lower objective and products with its Hessian. Problems: ``quadratic`` (10 parameters, of
Section 4.1 of the paper), ``total_variation`` (2, on scikit-image's photographs), ``logistic_class`` (10) and
``logistic_parameter`` (640, gradients only), both on 300 digits to fit and 700 to learn on. Learners start from the same
parameters and solve the lower problem by L-BFGS from the last solution:

- ``maid_certified``, ``maid`` (without the descent test), ``maid_extended`` (Barzilai-Borwein and nonmonotone besides), each
  with a scale-free first step, and ``hoag_*`` with its three schedules, from three first accuracies;
- ``fixed``: hypergradient descent with HOAG's step rule at each of these accuracies;
- ``random``, ``tpe`` and ``cmaes`` (Optuna) with three seeds, and ``dfols`` (DFO-LS, which sees residuals). They need no bound
  on the distance to the minimizer, which would be dear where the lower problem is hardly convex: a lower solution ends where
  its gradient is 1e-4 times the first one. Optuna's samplers may ask for 500 points, because TPE slows down with their number.

A row tells the exact upper loss (of a tight lower solution, not counted) at the parameters that a learner had paid for at a
share of the budget, and what it had spent by then, in counts and seconds.

    python benchmarks/bilevel.py --budget 6000

writes ``benchmarks/results/bilevel.csv``.
"""

import argparse
import csv
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dfols
import numpy as np
import optuna
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from regbench.methods.bilevel.hoag import Hoag, HoagOptions
from regbench.methods.bilevel.learner import Learner
from regbench.methods.bilevel.lower import lbfgs, solve_lower
from regbench.methods.bilevel.maid import Maid, MaidOptions
from regbench.methods.bilevel.problem import BilevelProblem
from regbench.methods.bilevel.quadratic import Quadratic, random_quadratic
from regbench.methods.bilevel.samples import norm
from regbench.methods.classification.weighted_logistic_regression import Groups, LogisticRegressionProblem
from regbench.methods.data import load
from regbench.methods.errors import DivergedError
from regbench.methods.imaging.total_variation import TotalVariationProblem

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
SEARCH_REDUCTION = 1e-4
SEARCH_TRIALS = 500
SHARES = [k / 10 for k in range(1, 11)]
SEEDS = range(3)


@dataclass(frozen=True)
class Task:
    """A problem, the range of its parameters, whether search without gradients takes part, and residuals r with f = ‖r‖²."""

    problem: BilevelProblem
    box: tuple[float, float]
    searched: bool
    residuals: Callable[[Tensor], Tensor]


def quadratic() -> Task:
    problem = random_quadratic()
    return Task(problem, (-10.0, 10.0), True, lambda x: (x[0] @ problem.A1.mT - problem.b1[0]) / math.sqrt(2))


def total_variation() -> Task:
    noisy, clean = (images.double() for images in load("natural_images").train.tensors)
    problem = TotalVariationProblem(noisy, clean, torch.tensor([-5.0, -5.0], dtype=torch.float64))
    return Task(problem, (-8.0, 0.0), True, lambda x: (x - problem.clean).flatten() / math.sqrt(2 * len(clean)))


def logistic(groups: Groups) -> Task:
    features, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    fit, held_out = ((features[rows] / 16, labels[rows]) for rows in (order[:300], order[300:1000]))
    problem = LogisticRegressionProblem(fit, held_out, 10, -3.0, groups)

    def residuals(x: Tensor) -> Tensor:
        losses = torch.nn.functional.cross_entropy(problem.B @ x[0], problem.c, reduction="none")
        return (losses / len(losses)).sqrt()

    return Task(problem, (-12.0, 0.0), groups != "parameter", residuals)


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


def learn(learner: Learner, budget: int) -> Iterator[Point]:
    """The points of a gradient learner until its budget is spent, it stops, or it diverges."""
    began = time.perf_counter()
    try:
        for record in learner:
            spent = record.lower_iterations, record.linear_iterations, record.iteration
            yield Point(record.theta, *spent, time.perf_counter() - began)
            if record.cost > budget:
                return
    except DivergedError:
        return


class Spent(Exception):
    """The budget is spent."""


class Search:
    """Evaluates f without its gradient, each time from the last lower solution, and keeps the points that were best so far."""

    def __init__(self, task: Task, budget: int) -> None:
        self.task, self.budget = task, budget
        self.x, self.spent, self.evaluations, self.best = task.problem.x0, 0, 0, math.inf
        self.points: list[Point] = []
        self.target = SEARCH_REDUCTION * norm(task.problem.lower_gradient(self.x, task.problem.theta0))
        self.began = time.perf_counter()

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        """The residuals at θ.

        Raises:
            Spent: the evaluation does not fit into the budget.
        """
        problem, parameters = self.task.problem, torch.as_tensor(theta, dtype=torch.float64)
        solution = lbfgs(problem, self.x, parameters, self.target, self.budget)
        self.x, self.spent, self.evaluations = solution.x, self.spent + solution.iterations, self.evaluations + 1
        if self.spent > self.budget:
            raise Spent
        found = self.task.residuals(solution.x)
        value = found.square().sum().item()
        if value < self.best:
            self.best = value
            self.points.append(Point(parameters.clone(), self.spent, 0, self.evaluations, time.perf_counter() - self.began))
        return found.numpy()

    def by_optuna(self, sampler: optuna.samplers.BaseSampler) -> None:
        """Asks a sampler until the budget or its trials are spent; the first trial is the start."""
        start, box = self.task.problem.theta0.tolist(), self.task.box
        study = optuna.create_study(sampler=sampler)
        study.enqueue_trial({f"theta{j}": value for j, value in enumerate(start)})
        for _ in range(SEARCH_TRIALS):
            trial = study.ask()
            theta = np.array([trial.suggest_float(f"theta{j}", *box) for j in range(len(start))])
            study.tell(trial, float(np.square(self.residuals(theta)).sum()))

    def by_dfols(self) -> None:
        """DFO-LS until the budget is spent or its trust region is tiny."""
        start = self.task.problem.theta0.numpy()
        bounds = tuple(np.full(len(start), end) for end in self.task.box)
        dfols.solve(self.residuals, start, bounds=bounds, rhoend=1e-8, maxfun=10**6)


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
    samplers: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
        "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
        "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    }
    for name, sampler in samplers.items():
        for seed in SEEDS:
            search = Search(task, budget)
            with suppress(Spent):
                search.by_optuna(sampler(seed))
            yield name, SEARCH_REDUCTION, seed, search.points
    search = Search(task, budget)
    with suppress(Spent):
        search.by_dfols()
    yield "dfols", SEARCH_REDUCTION, 0, search.points


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
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
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
