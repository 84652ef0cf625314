import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.utils.data import TensorDataset

from regbench.methods.generative.features import ResNetFeatures, feature_network
from regbench.methods.generative.metrics import class_entropy, frechet_distance, recall, spread
from regbench.methods.shared.data import Data, load

CPU = torch.device("cpu")


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def sample(mean, covariance, count=200, seed=0):
    """Points whose sample mean and sample covariance are exactly the given ones."""
    points = random(count, len(mean), seed=seed)
    points -= points.mean(0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    return points @ np.linalg.cholesky(np.asarray(covariance, float)).T + np.asarray(mean, float)


def test_frechet_distance_of_normal_distributions():
    # commuting covariances: ||μ₁ - μ₂||² + Σ (σ₁ - σ₂)²
    first, second = sample([1, 2, 0], np.diag([1.0, 4.0, 9.0])), sample([0, 0, 0], np.diag([4.0, 1.0, 0.25]), seed=1)
    assert frechet_distance(first, second) == pytest.approx(5 + 1 + 1 + 6.25)
    assert frechet_distance(first, first + 2) == pytest.approx(12)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_equals_matrix_square_root(seed):
    first, second = random(60, 8, seed=seed) @ random(8, 8, seed=9), random(90, 8, seed=seed + 10) + 0.3
    one, two = np.cov(first.T), np.cov(second.T)
    cross = scipy.linalg.sqrtm(one @ two)
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(one + two - 2 * cross.real)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_frechet_distance_where_covariances_are_singular():
    point, line = np.zeros((50, 4)), random(50, 1) @ np.ones((1, 4))
    assert frechet_distance(point, point) == 0
    assert frechet_distance(point, line) == pytest.approx((line.mean(0) ** 2).sum() + line.var(0, ddof=1).sum())


def test_class_entropy_by_hand():
    assert class_entropy(np.arange(10).repeat(3), 10) == pytest.approx(math.log(10))
    assert class_entropy(np.full(7, 4), 10) == 0
    assert class_entropy(np.array([0, 0, 1, 2]), 3) == pytest.approx(1.5 * math.log(2))


def test_spread_is_the_root_mean_squared_distance_to_the_mean():
    features = random(40, 5)
    centre = features.mean(0)
    assert spread(features) == pytest.approx(math.sqrt(np.mean([np.sum((row - centre) ** 2) for row in features])))
    assert spread(np.ones((3, 2))) == 0


def covered(real, fake, k):
    """Recall by its definition, one pair at a time."""
    inside = 0
    for point in real:
        for index, centre in enumerate(fake):
            others = sorted(np.linalg.norm(centre - other) for j, other in enumerate(fake) if j != index)
            if np.linalg.norm(point - centre) <= others[k - 1]:
                inside += 1
                break
    return inside / len(real)


@pytest.mark.parametrize("k", [1, 3])
def test_recall_equals_brute_force(k):
    real, fake = random(40, 3), 0.6 * random(30, 3, seed=1)
    expected = covered(real, fake, k)
    assert 0 < expected < 1
    assert recall(real, fake, k) == pytest.approx(expected)


def test_recall_counts_missed_modes():
    left, right = random(50, 2), random(50, 2, seed=1) + 100
    assert recall(np.concatenate([left, right]), left) == 0.5
    assert recall(left, left) == 1


def test_features_lead_to_the_predicted_classes():
    data = load("digit_images")
    network = feature_network(data, CPU)
    x, y = data.validation.tensors
    features = network.features(x)
    assert features.shape == (300, 32)
    assert (features >= 0).all()
    classifier = network._network
    np.testing.assert_array_equal((features @ classifier.coefs_[-1] + classifier.intercepts_[-1]).argmax(1), network.classes(x))
    assert (network.classes(x) == y.numpy()).mean() > 0.95
    assert feature_network(data, CPU) is network


def test_unseen_images_are_near_and_noise_is_far():
    data = load("digit_images")
    network = feature_network(data, CPU)
    train, validation = (network.features(split.tensors[0]) for split in (data.train, data.validation))
    noise = network.features(torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert frechet_distance(train, validation) < 5 < 50 < frechet_distance(train, noise)
    assert recall(validation, train) > 0.9 > 0.1 > recall(validation, noise)


def bright_and_dark():
    """Images of 5 x 5 of two classes, with noise, in three splits."""
    y = torch.arange(32) % 2
    noise = torch.randn(3, 32, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    splits = [TensorDataset(1.2 * y[:, None, None, None] - 0.6 + 0.3 * part, y) for part in noise]
    return Data("bright_and_dark", *splits, meta={"classes": 2, "shape": (3, 5, 5)})


def test_larger_images_are_judged_by_a_residual_network():
    data = bright_and_dark()
    network = ResNetFeatures(data, CPU, epochs=25)
    x, y = data.validation.tensors
    features = network.features(x)
    assert features.shape == (32, 512)
    with torch.no_grad():
        logits = network._network.head(torch.tensor(features, dtype=torch.float32))
    np.testing.assert_array_equal(logits.argmax(1), network.classes(x))
    assert (network.classes(x) == y.numpy()).mean() > 0.9


def test_the_residual_network_is_always_the_same_and_leaves_the_runs_random_numbers_alone():
    data = bright_and_dark()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(3)
        torch.manual_seed(seed)
        found.append(ResNetFeatures(data, CPU, epochs=1).features(data.test.tensors[0]))
        assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(*found)
