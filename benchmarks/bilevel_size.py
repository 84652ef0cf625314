"""How the cost of an upper iteration grows with the number of parameters: field of experts with 100, 1,000 and 10,000 of them.

On two photographs of 48 x 48: the median time of a gradient of the lower objective, of a product with its Hessian, of the
product Jᵀq that turns the adjoint into the hypergradient, once in an upper iteration, and of what else one takes besides
gradients and products (``overhead``: values and gradients of the upper objective, bounds, the step), all measured in turns; the
last three also in units of the lower gradient, which should not grow.

    python benchmarks/bilevel_size.py

writes ``benchmarks/results/bilevel_size.csv``.
"""

import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from regbench.methods.imaging.field_of_experts import FieldOfExpertsProblem
from regbench.methods.shared.bilevel.hypergradient import sandwich
from regbench.methods.shared.data import load

RESULTS = Path(__file__).parent / "results" / "bilevel_size.csv"
# Parameters: 1 + K (2 + size²) for K filters.
SHAPES = ((9, 3), (91, 3), (196, 7))
REPEATS = 15
PARTS = ("lower_gradient", "hessian_product", "jacobian_product", "overhead")


def problem_of(filters: int, size: int) -> FieldOfExpertsProblem:
    """Two noisy photographs and random filters."""
    noisy, clean = (images[:2].double() for images in load("natural_images").train.tensors)
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn(filters * size**2, generator=generator, dtype=torch.float64) / size
    theta = torch.cat([torch.full((1 + 2 * filters,), -3.0, dtype=torch.float64), kernels])
    return FieldOfExpertsProblem(noisy, clean, theta, filters, size)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measures, and writes the table."""
    torch.set_num_threads(1)
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["parameters", *(f"{part}_ms" for part in PARTS), *(f"{part}_relative" for part in PARTS[1:])])
        for filters, size in SHAPES:
            problem = problem_of(filters, size)
            theta, x = problem.theta0, problem.noisy
            product, accuracy = problem.hessian(x, theta), problem.per_sample(0.01)
            work: dict[str, Callable[[], object]] = {
                "lower_gradient": lambda p=problem, x=x, t=theta: p.lower_gradient(x, t),
                "hessian_product": lambda h=product, x=x: h(x),
                "jacobian_product": lambda p=problem, x=x, t=theta: p.jacobian_transposed(x, t, x),
                "overhead": lambda p=problem, x=x, t=theta, a=accuracy: (
                    sandwich(p, x, t, a, p.upper_smoothness(t), convex=True),
                    t - 0.1 * t,
                ),
            }
            rounds = [{part: timed(work[part]) for part in PARTS} for _ in range(REPEATS)]
            seconds = {part: statistics.median(found[part] for found in rounds) for part in PARTS}
            relative = [seconds[part] / seconds["lower_gradient"] for part in PARTS[1:]]
            row = [len(theta), *(f"{1000 * seconds[part]:.3g}" for part in PARTS), *(f"{value:.3g}" for value in relative)]
            table.writerow(row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
