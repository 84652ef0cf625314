"""When adaptive accuracy pays: lower iterations to a relative gap of 0.5 %, by the condition of a quadratic problem.

Matrices of 80 rows and 4 columns with singular values from 1 to the condition (so that the lower Hessian has its square), five
random instances each, and gradient descent as lower solver. ``fixed`` solves the lower problem to 1e-4 and steps by the inverse
curvature of the upper one, as the authors' study does; ``maid`` is MAID without its descent test, ``maid_extended`` adds the
Barzilai-Borwein step and the nonmonotone search. All start with the same step.

    python benchmarks/bilevel_conditions.py

writes ``benchmarks/results/bilevel_conditions.csv``.
"""

import csv
from pathlib import Path
from typing import Any

import torch

from regbench.methods.shared.bilevel.hoag import Hoag, HoagOptions
from regbench.methods.shared.bilevel.learner import Learner
from regbench.methods.shared.bilevel.lower import gradient_descent
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.bilevel.quadratic import Quadratic, conditioned_quadratic

RESULTS = Path(__file__).parent / "results" / "bilevel_conditions.csv"
FIELDS = ["condition", "seed", "learner", "lower_iterations", "linear_iterations", "upper_iterations"]
CONDITIONS = (2.0, 5.0, 10.0, 20.0, 30.0)
SEEDS = range(1, 6)
GAP = 5e-3
# Slow instances are given up: their row has no counts.
MOST_ITERATIONS = 300_000


def learners(problem: Quadratic) -> dict[str, Learner]:
    """What is compared, at its start."""
    step = 1 / torch.linalg.matrix_norm(problem.A1 @ torch.linalg.pinv(problem.A2) @ problem.A3, 2).item() ** 2
    shared: dict[str, Any] = {"lower_solver": gradient_descent, "max_lower_iterations": 100_000}
    adaptive = shared | {
        "step_size_init": step,
        "step_increase": 1.5,
        "accuracy_increase": 1.1,
        "sufficient_decrease": 0.1,
        "max_backtracks": 15,
        "check_descent": False,
        "convex_upper": True,
    }
    return {
        "fixed": Hoag(problem, HoagOptions(**shared, tolerance_init=1e-4, schedule="constant", step_size=step)),
        "maid": Maid(problem, MaidOptions(**adaptive)),
        "maid_extended": Maid(problem, MaidOptions(**adaptive, barzilai_borwein=True, nonmonotone=True)),
    }


def to_gap(learner: Learner, problem: Quadratic) -> tuple[int, int, int] | None:
    """Lower, linear and upper iterations until f is close to its minimum; None where that takes too many, or never comes."""
    least = problem.value(problem.minimizer())
    for record in learner:
        if problem.value(record.theta) - least < GAP * least:
            return record.lower_iterations, record.linear_iterations, record.iteration
        if record.lower_iterations > MOST_ITERATIONS:
            break
    return None


def main() -> None:
    """Runs every learner on every instance, and writes the table."""
    torch.set_num_threads(1)
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        for condition in CONDITIONS:
            for seed in SEEDS:
                problem = conditioned_quadratic(condition, seed)
                for name, learner in learners(problem).items():
                    spent = to_gap(learner, problem) or ("", "", "")
                    table.writerow([condition, seed, name, *spent])
                    print(f"condition {condition:g}, seed {seed}, {name}: {spent}", flush=True)


if __name__ == "__main__":
    main()
