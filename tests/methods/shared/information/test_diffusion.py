"""Diffusion spectral entropy and information against closed forms, identities and a literal rewriting of the published code."""

import math
import random

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from regbench.methods.shared.information.classes import classes_of, spectral_clusters
from regbench.methods.shared.information.diffusion import (
    binned_entropy,
    collision_entropy,
    diffusion_matrix,
    diffusion_spectral_entropy,
    diffusion_spectral_information,
    leading_eigenvalues,
    low_rank_error,
    matrix_entry_entropy,
    walk,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
LINE = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)


def points(count, size, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).normal(size=(count, size)))


def entropy(probabilities):
    p = np.asarray(probabilities)
    p = p[p > 0]
    return -(p * np.log2(p)).sum()


def reference(z, sigma, t=1):
    """DSE by NumPy from the definition that the released code follows."""
    kernel = np.exp(-(pairwise_distances(z) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    scale = np.diag(kernel.sum(1) ** -0.5)
    powers = np.abs(np.linalg.eigvalsh(scale @ kernel @ scale)) ** t
    return entropy(powers / powers.sum())


def reference_information(z, y, sigma):
    """DSMI, class by class and subset by subset, with Python's generator seeded anew for each class."""
    total = 0.0
    for label, count in zip(*np.unique(y, return_counts=True), strict=True):
        stream = random.Random(0)
        subsets = [stream.sample(range(len(y)), k=count) for _ in range(5)]
        whole = np.mean([reference(z[rows], sigma) for rows in subsets])
        total += count / len(y) * (whole - reference(z[y == label], sigma))
    return total


# Entropy


@DTYPES
def test_known_entropies(dtype):
    two = torch.tensor([[0.0], [1.0]], dtype=dtype)
    found = diffusion_spectral_entropy(two, 1.0)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(0.715349, abs=1e-6)
    assert diffusion_spectral_entropy(two, 1.0, 2).item() == pytest.approx(0.313759, abs=1e-6)
    line = LINE.to(dtype)
    for form, t, expected in (
        ("released", 1, 1.385415),
        ("anisotropic", 1, 1.382646),
        ("released", 2, 1.140868),
        ("anisotropic", 2, 1.140608),
    ):
        assert diffusion_spectral_entropy(line, 1.0, t, form=form).item() == pytest.approx(expected, abs=1e-6)
    assert matrix_entry_entropy(line, 1.0).item() == pytest.approx(2.538746, abs=1e-6)


def test_eigenvalues_are_those_of_the_walks():
    kernel, other = (torch.linalg.eigvalsh(diffusion_matrix(LINE, 1.0, form)) for form in ("released", "anisotropic"))
    assert kernel.tolist() == pytest.approx([0.227682, 0.836862, 1.0], abs=1e-6)
    assert other.tolist() == pytest.approx([0.225209, 0.850958, 1.0], abs=1e-6)
    assert walk(LINE, 1.0).sum(1).tolist() == pytest.approx([1.0] * 3)
    found = torch.linalg.eigvals(walk(LINE, 1.0)).real.sort().values
    assert found.tolist() == pytest.approx(other.tolist(), abs=1e-12)


def test_symmetric_sets_of_points():
    simplex = torch.eye(5, dtype=torch.float64) / math.sqrt(2)
    assert diffusion_spectral_entropy(simplex, 1.0).item() == pytest.approx(1.528160, abs=1e-6)
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    by_fourier = np.abs(np.fft.fft(np.exp(-(((circle - circle[0]) ** 2).sum(1).numpy()) / 2)))
    for form in ("released", "anisotropic"):
        found = diffusion_spectral_entropy(circle, 1.0, form=form).item()
        assert found == pytest.approx(2.019847, abs=1e-6)
        assert found == pytest.approx(entropy(by_fourier / by_fourier.sum()), abs=1e-9)


@pytest.mark.parametrize("estimate", [diffusion_spectral_entropy, collision_entropy])
def test_extremes(estimate):
    assert estimate(torch.ones(6, 3, dtype=torch.float64), 1.0).item() == pytest.approx(0.0, abs=1e-9)
    assert estimate(1e3 * torch.eye(8, dtype=torch.float64), 1.0).item() == pytest.approx(3.0, abs=1e-9)
    centres = 100 * torch.eye(3, dtype=torch.float64)
    clusters = centres.repeat_interleave(torch.tensor([4, 9, 20]), 0)
    assert estimate(clusters, 1.0).item() == pytest.approx(math.log2(3), abs=1e-6)


def test_it_falls_with_time_and_follows_the_definition():
    z = points(50, 3)
    expected = {1: 4.308437, 2: 3.203, 4: 1.693, 8: 0.339, 32: 0.0}
    for t, value in expected.items():
        found = diffusion_spectral_entropy(z, 1.0, t).item()
        assert found == pytest.approx(value, abs=1e-6 if t == 1 else 1e-3)
        assert found == pytest.approx(reference(z.numpy(), 1.0, t), abs=1e-9)


def test_invariances():
    z = points(20, 4)
    rotation = torch.linalg.qr(points(4, 4, 1)).Q
    expected = diffusion_spectral_entropy(z, 1.5).item()
    for other, sigma in ((z @ rotation, 1.5), (z + 1e4, 1.5), (z.flip(0), 1.5), (7 * z, 10.5)):
        assert diffusion_spectral_entropy(other, sigma).item() == pytest.approx(expected, abs=1e-7)
    stacked = diffusion_spectral_entropy(torch.stack([z, 2 * z]), 1.5)
    assert stacked.tolist() == pytest.approx([expected, diffusion_spectral_entropy(2 * z, 1.5).item()])


def test_gradients():
    z = points(6, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: diffusion_spectral_entropy(z, 1.0), z)
    assert torch.autograd.gradcheck(lambda z, t: diffusion_spectral_entropy(z, 1.0, t), (z, z.new_tensor(1.7).requires_grad_()))
    assert torch.autograd.gradcheck(lambda z: collision_entropy(z, 1.0, 2), z)
    # Equal eigenvalues, and eigenvalues that are rounding, have gradients too.
    for alike in (torch.eye(4, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)):
        alike.requires_grad_()
        diffusion_spectral_entropy(alike, 1.0).backward()
        assert alike.grad.isfinite().all()


# Faster algorithms


@pytest.mark.parametrize("form", ["released", "anisotropic"])
@pytest.mark.parametrize("t", [1, 1.5, 2, 4.5])
def test_low_rank_is_within_its_bound(form, t):
    z, tolerance = torch.cat([points(200, 3), 4 + 0.1 * points(350, 3, 1)]), 0.01
    exact = diffusion_spectral_entropy(z, 3.0, t, form=form).item()
    found = diffusion_spectral_entropy(z, 3.0, t, form=form, algorithm="low_rank", tolerance=tolerance).item()
    assert abs(found - exact) <= low_rank_error(len(z), tolerance)
    matrix = diffusion_matrix(z, 3.0, form)
    largest, every = leading_eigenvalues(matrix, tolerance, t), torch.linalg.eigvalsh(matrix).clamp(min=0)
    assert len(largest) < len(z)
    assert (largest <= every[-len(largest) :] + 1e-12).all()
    assert -1e-12 <= (every**t).sum() - (largest**t).sum() <= tolerance * (every**t).sum()


def test_where_many_eigenvalues_count_all_are_taken():
    matrix = diffusion_matrix(points(550, 20), 1.0)
    assert torch.equal(leading_eigenvalues(matrix, 1e-3), torch.linalg.eigvalsh(matrix))
    assert len(leading_eigenvalues(diffusion_matrix(points(550, 2), 1.0), 1e-2, 4)) < 550


def test_low_rank_is_exact_where_few_points_differ():
    z = points(7, 3).repeat(80, 1)
    assert len(leading_eigenvalues(diffusion_matrix(z, 1.0), 1e-12)) < len(z)
    for t in (1, 3):
        exact = diffusion_spectral_entropy(z, 1.0, t).item()
        found = diffusion_spectral_entropy(z, 1.0, t, algorithm="low_rank", tolerance=1e-12).item()
        assert found == pytest.approx(exact, abs=1e-9)
    with pytest.raises(ValueError, match="low_rank"):
        diffusion_spectral_entropy(z, 1.0, 0.5, algorithm="low_rank")


@pytest.mark.parametrize("t", [1, 2, 3])
def test_traces_of_powers_give_the_entropy_of_order_two_from_below(t):
    z = points(30, 4)
    powers = torch.linalg.eigvalsh(diffusion_matrix(z, 1.5)).clamp(min=0) ** t
    alpha = powers / powers.sum()
    found = collision_entropy(z, 1.5, t).item()
    assert found == pytest.approx(-math.log2(alpha.square().sum()), abs=1e-9)
    assert found <= diffusion_spectral_entropy(z, 1.5, t).item()


# Other entropies


def test_binned_entropy():
    z = torch.tensor([[0.0, 5.0], [0.49, 5.0], [0.5, 5.0], [1.0, 5.0]], dtype=torch.float64)
    assert binned_entropy(z).item() == pytest.approx(1.0)
    assert binned_entropy(z, bins=100).item() == pytest.approx(2.0)
    many = points(200, 3).numpy()
    scaled = (many - many.min(0)) / (many.max(0) - many.min(0))
    counts = np.unique(np.digitize(scaled, np.linspace(0, 1, 5)[:-1]), axis=0, return_counts=True)[1]
    assert binned_entropy(torch.from_numpy(many), bins=4).item() == pytest.approx(entropy(counts / 200))


# Information


@DTYPES
def test_information_follows_the_definition(dtype):
    z, y = points(60, 4), torch.arange(60) % 7 // 2
    z[y == 1] += 2
    found = diffusion_spectral_information(z.to(dtype), y, 1.5)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(reference_information(z.numpy(), y.numpy(), 1.5), abs=1e-6)


def test_information_of_clusters_and_of_one_class():
    centres = 100 * torch.eye(3, dtype=torch.float64)
    y = torch.arange(3).repeat_interleave(20)
    z = centres[y] + 1e-3 * points(60, 3)
    assert diffusion_spectral_information(z, y, 1.0).item() == pytest.approx(1.584, abs=2e-3)
    shuffled = y[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    assert abs(diffusion_spectral_information(z, shuffled, 1.0).item()) < 0.01
    assert diffusion_spectral_information(z, torch.zeros(60, dtype=torch.int64), 1.0).item() == pytest.approx(0.0, abs=1e-9)


def test_information_about_numbers_and_vectors():
    z = points(80, 3)
    number = z[:, 0]
    scaled = ((number - number.min()) / (number.max() - number.min())).numpy()
    bins = torch.from_numpy(np.digitize(scaled, np.linspace(0, 1, 11)[:-1]))
    by_number = diffusion_spectral_information(z, number, 1.0)
    assert by_number.item() == pytest.approx(diffusion_spectral_information(z, bins, 1.0).item())
    by_column = diffusion_spectral_information(z, number[:, None], 1.0)
    assert by_column.item() == by_number.item()
    by_vector = diffusion_spectral_information(z, z, 1.0, clusters=4)
    assert by_vector.item() == diffusion_spectral_information(z, spectral_clusters(z, 4), 1.0).item()
    assert classes_of(torch.tensor([3.0, 3.0])).tolist() == [0, 0]
