"""The quadratic task: reach the least upper loss of a random problem within a budget of iterations."""

import torch

from regbench.methods.method import Metric, Track
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.quadratic import Quadratic, random_quadratic

TRACK = Track(
    name="quadratic",
    help="a bilevel problem with a closed form, judged by how far the upper loss stays above its minimum",
    metrics=(Metric("gap", "min"),),
    data=("quadratic_problems",),
    baseline="initial_parameters",
    smoke={"budget": 400, "report_every": 200},
    iterative=False,
)


def drawn(run: Run) -> Quadratic:
    """The problem that a run's seed draws from the pool, on its device; the same one in every call."""
    pool = run.data.train.tensors[0]
    return random_quadratic(int(pool[run.numpy_seed("problem") % len(pool)])).to(run.device)


def gap(problem: Quadratic, theta: torch.Tensor) -> float:
    """f(θ) - min f, both by their closed forms."""
    return (problem.value(theta) - problem.value(problem.minimizer())).item()
