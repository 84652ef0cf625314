"""How dependence and accuracy are measured, against closed forms and reference libraries."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import poisson
from sklearn.metrics import log_loss, mean_poisson_deviance
from sklearn.neighbors import KernelDensity

from regbench.methods.fairness.metrics import accuracy_metrics, jensen_shannon, unfairness
from regbench.methods.fairness.targets import loss, response

RANDOM = np.random.default_rng(0)
PROBABILITIES = torch.tensor([0.2, 0.7, 0.9, 0.4], dtype=torch.float64)
BITS = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
MEANS = torch.tensor([0.05, 0.7, 2.0, 4.5], dtype=torch.float64)
COUNTS = torch.tensor([0.0, 1.0, 0.0, 7.0], dtype=torch.float64)


def test_jensen_shannon_of_groups_that_are_alike_is_zero():
    x = torch.tensor(RANDOM.normal(size=50)).repeat(3)
    assert jensen_shannon(x, torch.arange(150) // 50) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(torch.ones(6, dtype=torch.float64), torch.arange(6) % 2) == pytest.approx(0, abs=1e-12)


def test_jensen_shannon_of_disjoint_groups_is_the_entropy_of_their_shares():
    x, groups = torch.tensor([0.0, 0, 0, 100, 100, 200, 200, 200]).double(), torch.tensor([5, 5, 5, 0, 0, 2, 2, 2])
    share = np.array([3, 2, 3]) / 8
    assert jensen_shannon(x, groups) == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-6)


def test_jensen_shannon_of_two_halves_is_scipys_of_sklearns_densities():
    x = np.concatenate([RANDOM.normal(size=40), RANDOM.normal(0.7, size=40)])
    points = np.linspace(x.min(), x.max(), 1000)[:, None]
    densities = [np.exp(KernelDensity(bandwidth=0.15).fit(part[:, None]).score_samples(points)) for part in np.split(x, 2)]
    expected = jensenshannon(*densities, base=2) ** 2
    assert jensen_shannon(torch.tensor(x), torch.arange(80) // 40) == pytest.approx(expected, rel=1e-5)


def test_unfairness_is_the_variance_of_the_means():
    x, groups = torch.tensor(RANDOM.normal(size=60)), torch.tensor(RANDOM.integers(4, size=60) * 2)
    means = [x[groups == group].mean() for group in groups.unique()]
    assert unfairness(x, groups) == pytest.approx(np.var(means, ddof=1) / np.var(x.numpy(), ddof=1))
    assert unfairness(torch.ones(60), groups) == 0


def test_ranked_probability_score_of_counts():
    k, mean, y = np.arange(11), MEANS.numpy()[:, None], COUNTS.numpy()[:, None]
    expected = ((poisson.cdf(k, mean) - (k >= y)) ** 2).sum(1).mean()
    found = accuracy_metrics("count", MEANS, COUNTS)
    assert found["error"] == pytest.approx(expected)
    assert found["deviance"] == pytest.approx(mean_poisson_deviance(COUNTS, MEANS))


def test_binary_and_real_accuracy():
    found = accuracy_metrics("binary", PROBABILITIES, BITS)
    assert found == pytest.approx(
        {"error": (0.04 + 0.09 + 0.01 + 0.36) / 4, "deviance": 2 * log_loss(BITS, PROBABILITIES), "accuracy": 0.75}
    )
    assert accuracy_metrics("real", MEANS, COUNTS)["error"] == pytest.approx(np.sqrt(np.mean((MEANS - COUNTS).numpy() ** 2)))


@pytest.mark.parametrize("target", ["real", "binary", "count"])
def test_a_loss_is_least_where_predictions_are_the_mean(target):
    """The best constant prediction of repeated targets is their mean, per unit of exposure for counts."""
    y = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    exposure = torch.tensor([0.5, 1.0, 1.0, 2.0], dtype=torch.float64) if target == "count" else torch.ones(4).double()
    rate = {"real": 0.75, "binary": 0.75, "count": 3 / 4.5}[target]
    score = {"real": 0.75, "binary": np.log(3), "count": np.log(3 / 4.5)}[target]
    scores = torch.full((4,), score, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(
        response(target, scores, exposure), rate * exposure if target == "count" else rate + 0 * exposure
    )
    (slope,) = torch.autograd.grad(loss(target, scores, y, exposure), scores)
    assert slope.sum().item() == pytest.approx(0, abs=1e-12)
