"""DEC's losses, the estimators and the metrics of the clustering track against definitions, scikit-learn and simple data."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import mutual_info_score
from torch.utils.data import TensorDataset

from regbench.methods.clustering.dec import DEC, CentredEncoder, dec_target, divergence, log_assignments
from regbench.methods.clustering.kmeans import PixelKMeans
from regbench.methods.clustering.metrics import clustering_metrics
from regbench.methods.clustering.spectral import Spectral
from regbench.methods.run import Run
from regbench.methods.shared.data import Data, load


def entropy(labels):
    share = np.bincount(labels) / len(labels)
    return -(share[share > 0] * np.log(share[share > 0])).sum()


def test_metrics_by_their_definitions():
    random = np.random.default_rng(0)
    labels = random.integers(4, size=300)
    clusters = np.where(random.random(300) < 0.7, (labels + 1) % 4, random.integers(6, size=300))
    found = clustering_metrics(torch.tensor(clusters), torch.tensor(labels))
    assert found["accuracy"] == pytest.approx((clusters == (labels + 1) % 4).mean())
    information = mutual_info_score(labels, clusters)
    assert found["nmi"] == pytest.approx(2 * information / (entropy(labels) + entropy(clusters)))
    pairs = math.comb(300, 2)
    both = sum(math.comb(int(((labels == i) & (clusters == j)).sum()), 2) for i in range(4) for j in range(6))
    one = sum(math.comb(int(count), 2) for count in np.bincount(labels))
    other = sum(math.comb(int(count), 2) for count in np.bincount(clusters))
    expected = (both - one * other / pairs) / ((one + other) / 2 - one * other / pairs)
    assert found["ari"] == pytest.approx(expected)
    perfect = clustering_metrics(torch.tensor((labels + 2) % 4), torch.tensor(labels))
    assert perfect == pytest.approx({"accuracy": 1, "nmi": 1, "ari": 1})


def test_dec_assigns_by_a_students_t_and_sharpens():
    z = np.array([[0.0, 1.0], [2.0, 0.5], [1.0, 1.0]])
    centres = np.array([[0.0, 0.0], [2.0, 0.0]])
    encoder = CentredEncoder(torch.nn.Identity(), 2, 2).double()
    with torch.no_grad():
        encoder.centres.copy_(torch.tensor(centres))
    log_q = log_assignments(encoder(torch.tensor(z)))
    kernel = 1 / (1 + ((z[:, None] - centres) ** 2).sum(2))
    q = kernel / kernel.sum(1, keepdims=True)
    np.testing.assert_allclose(log_q.exp().detach(), q)
    weighted = q**2 / q.sum(0)
    p = weighted / weighted.sum(1, keepdims=True)
    target = dec_target(log_q.detach())
    np.testing.assert_allclose(target, p)
    assert divergence(target, log_q).item() == pytest.approx((p * np.log(p / q)).sum(1).mean())
    sure = torch.tensor([[1.0, 0.0]])
    assert divergence(sure, sure.log().clamp(min=-50)).item() == 0


def test_dec_ends_when_clusters_stay():
    settings = {"channels": 4, "restarts": 2, "pretraining_epochs": 1, "epochs": 6, "epochs_per_round": 7, "batch_size": 300}
    run = Run("digits_clusters")
    (metrics,) = DEC(**settings, tolerance=1.1).train(run)
    assert run.part("progress")["stage"] == 2
    assert metrics["train/loss"] > 0
    assert 0.1 < metrics["val/accuracy"] < 1


def as_data(points, labels):
    x = torch.tensor(points, dtype=torch.float32)[:, None, None]
    rows = torch.arange(len(x))
    parts = [TensorDataset(x[part], torch.tensor(labels)[part], rows[part]) for part in (rows[::3], rows[1::3])]
    return Data("points", TensorDataset(x), *parts, {"classes": int(labels.max()) + 1, "shape": (1, 1, 2)})


def test_kmeans_finds_blobs_and_spectral_clustering_rings():
    blobs = as_data(*make_blobs(300, centers=[[0, 0], [8, 0], [0, 8]], random_state=0))
    assert next(PixelKMeans().train(Run(blobs)))["val/accuracy"] == 1
    points, labels = make_circles(400, factor=0.3, noise=0.04, random_state=0)
    rings = as_data(points, labels)
    assert next(Spectral(neighbours=10).train(Run(rings)))["val/accuracy"] == 1
    assert next(PixelKMeans().train(Run(rings)))["val/accuracy"] < 0.7
    direct = SpectralClustering(2, affinity="nearest_neighbors", n_neighbors=10, random_state=0).fit_predict(points)
    ours = Spectral(neighbours=10).assign(torch.tensor(points), 2, 0)
    assert clustering_metrics(ours, torch.tensor(direct).long())["accuracy"] == 1


def test_judged_rows_are_rows_of_the_training_images():
    data = load("digits_clusters")
    (x,) = data.train.tensors
    assert len(x) == 1797
    for split in (data.validation, data.test):
        images, _, rows = split.tensors
        assert torch.equal(x[rows], images)
    assert not set(data.validation.tensors[2].tolist()) & set(data.test.tensors[2].tolist())
