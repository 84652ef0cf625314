"""SimGCD's losses against figures computed by hand, sums written out, scikit-learn's and SciPy's functions."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from regbench.methods.discovery import losses
from regbench.methods.discovery.metrics import discovery_metrics
from regbench.methods.discovery.task import sampling_weights
from regbench.methods.run import Alone, Run
from regbench.methods.shared.matching import match

# Two images in two views, cosines with three prototypes.
COSINES = [[0.9, 0.1, -0.2], [0.8, 0.3, 0.0], [0.7, 0.2, -0.1], [0.6, 0.5, 0.1]]
SECOND_LABELLED = torch.tensor([False, True])
Z = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def cosines(dtype=torch.float64):
    return torch.tensor(COSINES, dtype=dtype)


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@DTYPES
def test_clustering_losses_of_two_images(dtype):
    s, y = cosines(dtype), torch.tensor([-1, 0])
    assert losses.self_distillation(s, 0.04).item() == pytest.approx(0.177994, abs=2e-6)
    assert losses.mean_entropy_gap(s).item() == pytest.approx(0.833636, abs=2e-6)
    assert losses.supervised_cross_entropy(s, y, SECOND_LABELLED).item() == pytest.approx(0.162612, abs=2e-6)


@DTYPES
@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.957474), (0.07, 1.221856)])
def test_contrast_of_two_images(dtype, temperature, expected):
    z = torch.tensor(Z, dtype=dtype)
    assert losses.unsupervised_contrastive(z, temperature).item() == pytest.approx(expected, abs=2e-6)
    assert losses.unsupervised_contrastive(5 * z, temperature).item() == pytest.approx(expected, abs=2e-6)


def test_contrast_of_labels_counts_rows_of_a_class_as_positive():
    z, both = torch.tensor(Z, dtype=torch.float64), torch.tensor([True, True])
    different = losses.supervised_contrastive(z, torch.tensor([0, 1]), both)
    assert different.item() == pytest.approx(1.221856, abs=1e-6)
    assert losses.supervised_contrastive(z, torch.tensor([1, 1]), both).item() == pytest.approx(3.698046, abs=1e-6)


def test_losses_are_the_sums_of_their_equations():
    """Written out row by row, with SciPy, at ten images of which six are labelled."""
    z, s = random(20, 5), random(20, 4, seed=1).tanh()
    y = torch.tensor([0, 1, 0, 1, 2, 0, -1, -1, -1, -1])
    labelled = y >= 0
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    similarity = unit @ unit.T
    contrast = []
    for i in range(20):
        others = [j for j in range(20) if j != i]
        contrast.append(-log_softmax(similarity[i, others] / 0.3)[others.index((i + 10) % 20)])
    assert losses.unsupervised_contrastive(z, 0.3).item() == pytest.approx(np.mean(contrast))
    rows = [i for i in range(20) if labelled[i % 10]]
    sup = []
    for i in rows:
        others = [j for j in rows if j != i]
        alike = [n for n, j in enumerate(others) if y[j % 10] == y[i % 10]]
        sup.append(-np.mean(log_softmax(similarity[i, others] / 0.07)[alike]))
    assert losses.supervised_contrastive(z, y, labelled).item() == pytest.approx(np.mean(sup))
    q, log_p = softmax(s.numpy() / 0.05, axis=1), log_softmax(s.numpy() / 0.1, axis=1)
    crossed = [-(q[(i + 10) % 20] * log_p[i]).sum() for i in range(20)]
    assert losses.self_distillation(s, 0.05).item() == pytest.approx(np.mean(crossed))
    plain = np.mean([-log_p[i, y[i % 10]] for i in rows])
    assert losses.supervised_cross_entropy(s, y, labelled).item() == pytest.approx(plain)
    gap = math.log(4) - entropy(np.exp(log_p).mean(axis=0))
    assert losses.mean_entropy_gap(s).item() == pytest.approx(gap)


def test_without_labels_supervised_losses_are_0_and_have_a_gradient_of_0():
    z, none = random(6, 4).requires_grad_(), torch.zeros(3, dtype=torch.bool)
    y = torch.full((3,), -1)
    total = losses.supervised_contrastive(z, y, none) + losses.supervised_cross_entropy(z, y, none)
    (gradient,) = torch.autograd.grad(total, z)
    assert total == 0
    assert not gradient.any()


def test_the_teacher_has_no_gradient():
    s = random(6, 4).tanh().requires_grad_()
    (found,) = torch.autograd.grad(losses.self_distillation(s, 0.04), s)
    q = (s.detach() / 0.04).softmax(1).roll(3, 0)
    expected = ((s.detach() / 0.1).softmax(1) - q) / 0.1 / 6
    torch.testing.assert_close(found, expected)


def test_the_entropy_gap_is_0_at_a_uniform_mean_and_at_most_log_k():
    assert losses.mean_entropy_gap(20 * torch.eye(3, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-12)
    one = torch.tensor([[50.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    gap = losses.mean_entropy_gap(one)
    assert gap.item() == pytest.approx(math.log(3))
    assert torch.autograd.grad(gap, one)[0].isfinite().all()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_teacher_sharpens_as_numpy_says(schedule):
    found = [losses.teacher_temperature(epoch, 0.07, 0.04, 30, schedule) for epoch in range(1, 41)]
    shares = np.linspace(0, 1, 30)
    if schedule == "cosine":
        shares = (1 - np.cos(np.pi * shares)) / 2
    np.testing.assert_allclose(found, [*(0.07 - 0.03 * shares), *[0.04] * 10])
    assert [losses.teacher_temperature(epoch, 0.07, 0.04, 0) for epoch in (1, 2)] == [0.04, 0.04]


# Sampling and evaluation


def test_half_of_what_is_drawn_is_labelled():
    labelled = torch.tensor([True] * 30 + [False] * 170)
    weights = sampling_weights(labelled)
    assert weights[labelled].sum() == pytest.approx(weights[~labelled].sum())
    assert sampling_weights(torch.ones(4, dtype=torch.bool)).tolist() == [1.0] * 4


def test_one_matching_judges_known_and_novel_rows():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    clusters = torch.tensor([1, 1, 2, 0, 0, 2, 2, 1])
    found = discovery_metrics(clusters, labels, known=2)
    assert found == pytest.approx({"accuracy": 6 / 8, "known_accuracy": 4 / 5, "novel_accuracy": 2 / 3})


@pytest.mark.parametrize("seed", range(3))
def test_the_matching_is_scipys_and_does_not_depend_on_numbers(seed):
    random = np.random.default_rng(seed)
    clusters, labels = random.integers(7, size=200), random.integers(5, size=200)
    counts = np.zeros((7, 7), int)
    np.add.at(counts, (clusters, labels), 1)
    rows, columns = linear_sum_assignment(-counts)
    accuracy = (match(torch.tensor(clusters), torch.tensor(labels)) == torch.tensor(labels)).double().mean()
    assert accuracy.item() == pytest.approx(counts[rows, columns].sum() / 200)
    renamed = torch.tensor(random.permutation(7)[clusters])
    assert (match(renamed, torch.tensor(labels)) == torch.tensor(labels)).double().mean() == accuracy


def test_workers_share_what_is_drawn_by_weight():
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0], dtype=torch.float64)
    alone = Run("digits").draw(4, 4000, weights)
    assert set(alone.tolist()) == {1, 3}
    assert (alone == 1).double().mean().item() == pytest.approx(0.75, abs=0.03)
    world = Alone()
    world.rank, world.size = 1, 2
    assert torch.equal(Run("digits", world=world).draw(4, 4000, weights), alone[1::2])
