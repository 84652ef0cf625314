"""The quadratic toy problem as a method: what it reports is exact, and every learner comes closer than the start."""

import numpy as np
import pytest
import torch

from regbench.methods.quadratic.initial_parameters import InitialParameters
from regbench.methods.quadratic.quadratic_toy import QuadraticToy
from regbench.methods.quadratic.task import drawn, gap
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.quadratic import random_quadratic

SHORT = {"budget": 1500, "report_every": 500}


def gaps(method, seed: int = 0) -> list[float]:
    return [metrics["val/gap"] for metrics in method.train(Run("quadratic_problems", seed=seed))]


def test_the_gap_is_that_of_the_closed_form():
    problem = random_quadratic(3)
    A1, A2, A3, b1, b2 = (part.numpy() for part in (problem.A1, problem.A2, problem.A3, problem.b1[0], problem.b2[0]))
    through = A1 @ np.linalg.pinv(A2)
    f = lambda theta: np.square(through @ (b2 - A3 @ theta) - b1).sum() / 2  # noqa: E731
    best = np.linalg.lstsq(through @ A3, through @ b2 - b1, rcond=None)[0]
    theta = torch.linspace(-1, 1, 10, dtype=torch.float64)
    assert gap(problem, theta) == pytest.approx(f(theta.numpy()) - f(best), rel=1e-6)
    assert gap(problem, torch.from_numpy(best)) == pytest.approx(0, abs=1e-6)


def test_seeds_draw_problems():
    first, again, other = (drawn(Run("quadratic_problems", seed=seed)).A1 for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("learner", ["maid", "hoag", "fixed", "random", "tpe", "cmaes", "dfols"])
def test_every_learner_comes_closer_than_the_start(learner):
    (start,) = gaps(InitialParameters())
    learned = gaps(QuadraticToy(learner=learner, lower_tolerance_init=1e-3, **SHORT))
    assert len(learned) == 3
    assert learned[-1] < 0.1 * start


def test_learned_parameters_may_leave_the_range_of_logarithms():
    method = QuadraticToy(barzilai_borwein=True, nonmonotone=True, budget=6000, report_every=6000)
    run = Run("quadratic_problems", seed=0)
    list(method.train(run))
    assert run.state()["state"]["book"]["shown"]["theta"].abs().max() > 6


def test_without_a_learner_it_is_the_start():
    assert gaps(QuadraticToy(learner="none")) == gaps(InitialParameters())
