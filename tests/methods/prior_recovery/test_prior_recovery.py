import numpy as np
import pytest
from scipy.integrate import quad

from regbench.methods.prior_recovery.posterior_median import PosteriorMedian
from regbench.methods.prior_recovery.scalar_proximal import ScalarProximal
from regbench.methods.prior_recovery.task import evaluate
from regbench.methods.run import Run
from regbench.methods.shared.proximal.potentials import Potential


class SoftThreshold(Potential):
    """The proximal operator that is to be found."""

    def __init__(self):
        super().__init__(1.0)

    def body(self, y):
        return (y.abs() - 1).clamp(min=0).square().flatten(1).sum(1) / 2

    def nonnegative(self):
        return []


def test_the_wanted_operator_has_no_error():
    run = Run("laplace_samples")
    found = evaluate(SoftThreshold(), run.data.validation, run)
    assert found["operator_error"] < 1e-12
    # The least of the regularizer's values is that at the point next to 0.
    assert found["regularizer_error"] == pytest.approx(run.data.validation.tensors[2].abs().min().item(), abs=1e-9)
    assert found["inversion_residual"] < 1e-12


def test_the_shares_and_rates_of_the_schedule():
    method = ScalarProximal(iterations=70)
    assert method.pretraining == 20
    assert [method.stage(step) for step in (20, 29, 30, 40, 50, 60, 69)] == [0, 0, 1, 2, 3, 4, 4]
    assert [method.rate(step) for step in (0, 9, 10, 19, 20, 29, 30, 59, 60)] == [1, 1, 0.1, 0.1, 1, 1, 0.1, 0.1, 0.01]


def posterior(y, of):
    """E[of(x) | y] for a Laplace prior and noise 1, by quadrature."""
    density = lambda x: np.exp(-abs(x) - (y - x) ** 2 / 2)  # noqa: E731
    total = quad(density, -12, 12, points=[0, y])[0]
    return quad(lambda x: of(x) * density(x), -12, 12, points=[0, y])[0] / total


def test_the_limits_of_the_three_losses_differ_as_computed():
    """The mean's distance to the soft threshold on [-4, 4], by quadrature, is what the squared error cannot go below."""
    assert posterior(1.0, lambda x: x) == pytest.approx(0.503223, abs=1e-6)
    grid = np.linspace(-4, 4, 81)
    gaps = [posterior(y, lambda x: x) - np.sign(y) * max(abs(y) - 1, 0) for y in grid]
    assert np.sqrt(np.mean(np.square(gaps))) == pytest.approx(0.23, abs=0.02)


def test_matching_comes_nearer_than_the_median():
    settings = {"iterations": 400, "report_every": 400, "batch_size": 200, "hidden_units": 16, "num_layers": 2}
    methods = (
        PosteriorMedian(learning_rate=0.01, **settings),
        ScalarProximal(learning_rate=0.01, matching_fraction=0.5, **settings),
    )
    (median,), (matched,) = (list(method.train(Run("laplace_samples"))) for method in methods)
    assert matched["val/regularizer_error"] < 0.7 * median["val/regularizer_error"]
