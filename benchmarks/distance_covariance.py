"""Unbiased distance covariance beside dcor's on the same numbers: seconds for the value, and for value and gradient.

``pairwise`` compares all pairs (dcor: ``naive``), ``sorted`` sorts scalars (dcor: the faster of ``mergesort`` and ``avl``,
compiled before). ``attributes`` is how many y there are for one x: dcor is called for each. One thread, float64, the least
time of several repeats, all sides taking turns.

    python benchmarks/distance_covariance.py

writes ``benchmarks/results/distance_covariance.csv``; ``ratio`` is dcor's time over ours.
"""

import csv
import time
from collections.abc import Callable
from pathlib import Path

import dcor
import numpy as np
import torch

from regbench.methods.fairness.distance_covariance import covariance
from regbench.methods.fairness.sorted_covariance import sorted_covariance

RESULTS = Path(__file__).parent / "results" / "distance_covariance.csv"
FIELDS = ["algorithm", "samples", "attributes", "seconds", "seconds_with_gradient", "dcor_seconds", "ratio", "difference"]
CASES = [("pairwise", n, d) for n in (128, 256, 512, 1024, 2048, 4096) for d in (1, 4)]
CASES += [("sorted", n, d) for n in (16, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536) for d in (1, 8)]
REPEATS = 20
METHODS = {"pairwise": ("naive",), "sorted": ("mergesort", "avl")}


def least(*functions: Callable[[], object]) -> list[float]:
    """The least seconds that each function takes, all of them taking turns, each after a call that is not timed."""
    found: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for function, times in zip(functions, found, strict=True):
            function()
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [min(times) for times in found]


def case(algorithm: str, n: int, d: int) -> list[object]:
    """One row of the table."""
    draw = np.random.default_rng(n)
    x = draw.normal(size=n)
    rows = x + draw.normal(size=(d, n))
    moving, y = torch.tensor(x, requires_grad=True), torch.tensor(rows)

    def estimate(values: torch.Tensor) -> torch.Tensor:
        return sorted_covariance(values, y) if algorithm == "sorted" else covariance(values[:, None], y[:, :, None])

    def value() -> torch.Tensor:
        with torch.no_grad():
            return estimate(moving)

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(estimate(moving).sum(), moving)[0]

    def theirs(method: str) -> list[float]:
        return [dcor.u_distance_covariance_sqr(x, row, method=method) for row in rows]

    methods = METHODS[algorithm]
    ours, with_gradient, *others = least(value, gradient, *(lambda m=method: theirs(m) for method in methods))
    difference = float(np.abs(value().numpy() - np.array(theirs(methods[0]))).max())
    times = [f"{seconds:.3g}" for seconds in (ours, with_gradient, min(others))]
    return [algorithm, n, d, *times, f"{min(others) / ours:.2f}", f"{difference:.1g}"]


def main() -> None:
    """Measures every case, and writes the table."""
    torch.set_num_threads(1)
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(FIELDS)
        for algorithm, n, d in CASES:
            row = case(algorithm, n, d)
            table.writerow(row)
            print(*row, flush=True)


if __name__ == "__main__":
    main()
