"""Iterations that each solver of SCAD takes until its objective is within a gap of the least one, at one level.

Two designs: 10 of 500 covariates matter, 200 rows, noise of variance 1, at λ = 0.3 and to gaps of 1e-1, 1e-2 and 1e-3; and the
blocks of Yang et al., 2023 (50 of 2,050 covariates matter, SNR 5) at λ = 0.2 and to a gap of e³, as the paper's code has it.
Covariates have mean 0 and variance 1, and the outcome mean 0; it is not scaled. Solvers start at 0, on the blocks also at the
signs of Xᵀy, where the paper's code starts. Gaps are to what accelerated gradients reach in the end; a solver that ends in
another, higher minimum never gets there. Entries are medians over problems, empty where that is beyond the limit.

    python benchmarks/solvers.py

writes ``benchmarks/results/solvers.csv``.
"""

import csv
import math
import statistics
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from regbench.methods.shared.data.sparse_problems import block_design, toeplitz_rows
from regbench.methods.sparse_regression.likelihoods import LIKELIHOODS
from regbench.methods.sparse_regression.linear import PenalizedLinear
from regbench.methods.sparse_regression.penalties import Scad
from regbench.methods.sparse_regression.solvers import SOLVERS, Solver

RESULTS = Path(__file__).parent / "results" / "solvers.csv"
FIELDS = ["design", "correlation", "rows", "start", "gap", "solver", "iterations", "least", "most"]
NAMES: tuple[Solver, ...] = ("accelerated", "accelerated_released", "ghadimi_lan", "proximal_gradient", "proximal_ncg")
PROBLEMS = 3
LIMIT = 1500
SMALL_GAPS = {"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3}
BLOCK_GAPS = {"e^3": math.exp(3)}


def problem_of(x: np.ndarray, y: np.ndarray, level: float) -> PenalizedLinear:
    """SCAD of standardized rows and a centred outcome."""
    x = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / x.std(axis=0)])
    return PenalizedLinear(torch.tensor(x), torch.tensor(y - y.mean()), LIKELIHOODS["continuous"], Scad(3.7), level)


def small(correlation: float, rows: int, random: np.random.Generator) -> PenalizedLinear:
    """Ten coefficients of size 1 to 3 at random places among 500, noise of variance 1."""
    x = toeplitz_rows(rows, 500, correlation, random)
    beta = np.zeros(500)
    beta[random.permutation(500)[:10]] = random.uniform(1, 3, 10) * random.choice([-1.0, 1.0], 10)
    return problem_of(x, x @ beta + random.standard_normal(rows), 0.3)


def blocks(correlation: float, rows: int, random: np.random.Generator) -> PenalizedLinear:
    """The paper's design."""
    drawn = block_design(rows, 1, correlation, 5.0, "continuous")(random)
    return problem_of(drawn.x.numpy(), drawn.y.numpy(), 0.2)


def zero(problem: PenalizedLinear) -> Tensor:
    """No covariate."""
    return problem.origin()


def signs(problem: PenalizedLinear) -> Tensor:
    """Every covariate, by 1 or -1: where more covariates than rows end in a minimum in which most stay so."""
    start = (problem.y @ problem.x).sign()
    start[0] = 0
    return start


def iterations(problem: PenalizedLinear, start: Tensor, gaps: dict[str, float]) -> Iterator[tuple[Solver, str, float]]:
    """Solver, gap, and the first iteration within it; infinite where none is."""
    least = [problem.value(beta).item() for beta in islice(SOLVERS["accelerated"](problem, start), LIMIT)][-1]
    for name in NAMES:
        reached = dict.fromkeys(gaps, math.inf)
        for number, beta in enumerate(islice(SOLVERS[name](problem, start), LIMIT), start=1):
            gap = problem.value(beta).item() - least
            reached |= {label: number for label, wanted in gaps.items() if gap <= wanted and reached[label] == math.inf}
            if math.inf not in reached.values():
                break
        for label, count in reached.items():
            yield name, label, count


def main() -> None:
    """Solves every problem with every solver, and writes the table."""
    torch.set_num_threads(1)
    cells = [("toeplitz", small, tau, 200, zero, SMALL_GAPS) for tau in (0.5, 0.9)]
    sizes = [(tau, rows) for tau in (0.1, 0.5, 0.9) for rows in (200, 500, 1000)]
    cells += [("blocks", blocks, tau, rows, start, BLOCK_GAPS) for start in (zero, signs) for tau, rows in sizes]
    with RESULTS.open("w", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        for design, draw, tau, rows, start, gaps in cells:
            counts: dict[tuple[Solver, str], list[float]] = {}
            for seed in range(PROBLEMS):
                problem = draw(tau, rows, np.random.default_rng(seed))
                for name, label, count in iterations(problem, start(problem), gaps):
                    counts.setdefault((name, label), []).append(count)
            for (name, label), found in counts.items():
                figures = statistics.median(found), min(found), max(found)
                shown = [f"{v:.0f}" if v < math.inf else "" for v in figures]
                row = dict(zip(FIELDS, (design, tau, rows, start.__name__, label, name, *shown), strict=True))
                table.writerow(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
