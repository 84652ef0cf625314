"""The clustering task: images without any label, to be parted into as many clusters as there are classes."""

from abc import abstractmethod
from typing import ClassVar

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.clustering.metrics import clustering_metrics
from regbench.methods.method import Method, Metric, Metrics, Track
from regbench.methods.run import Run
from regbench.methods.training import Estimator

TRACK = Track(
    name="clustering",
    help="images parted into clusters without a label, judged by how well clusters are classes",
    metrics=(Metric("accuracy", "max"), Metric("nmi", "max"), Metric("ari", "max")),
    data=(
        "digits_clusters",
        "digits_clusters_unbalanced",
        "fashion_clusters",
        "omniglot_clusters",
        "fashion_test_clusters",
        "mnist_test_clusters",
        "mnist_full_clusters",
        "usps_clusters",
    ),
    baseline="autoencoder_kmeans",
    smoke={
        "pretraining_epochs": 1, "initialization_epochs": 1, "epochs": 1, "epochs_per_round": 1, "batch_size": 300,
        "channels": 4, "learning_rate": 1e-3, "restarts": 2,
    },
)  # fmt: skip


class ClusteringMethod(Method):
    """Clusters all images of the training split, which has no labels; the other splits know those of some of its rows.

    How many clusters there are is known. Tuning is by the labels of a third of the images, the test by the others', each with a
    matching of its own: the published methods tune without any label, which no comparison of tuned methods can.
    """

    track: ClassVar[Track] = TRACK


class ClusteringEstimator(ClusteringMethod, Estimator):
    """A method that is fitted at once."""

    @abstractmethod
    def assign(self, x: Tensor, clusters: int, seed: int) -> Tensor:
        """The cluster of each row of flattened images ``[N, D]``, float64; int64 ``[N]``, from 0."""

    def fit_and_judge(self, run: Run) -> Metrics:
        """Clusters all images, and judges the clusters of some."""
        x = run.data.train.tensors[0].flatten(1).double()
        return judge(self.assign(x, run.data.meta["classes"], run.numpy_seed("clusters")), run)


def judge(clusters: Tensor, run: Run) -> Metrics:
    """Metrics of the clusters ``[N]`` of all training images, on the rows whose labels a split knows."""
    found = clusters.cpu()

    def evaluate(split: TensorDataset) -> Metrics:
        _, labels, rows = split.tensors
        return clustering_metrics(found[rows], labels)

    return run.judge(evaluate)


def k_means(x: Tensor, clusters: int, restarts: int, seed: int) -> tuple[Tensor, Tensor]:
    """The best of several runs of k-means from k-means++ (Arthur, Vassilvitskii, 2007).

    Args:
        x: rows ``[N, D]``.
        clusters: K.
        restarts: how many runs.
        seed: of the starts.

    Returns:
        Clusters ``[N]``, int64, and means ``[K, D]``, on the device and in the precision of ``x``.
    """
    found = KMeans(clusters, n_init=restarts, random_state=seed).fit(x.double().cpu().numpy())
    labels = torch.from_numpy(found.labels_).long().to(x.device)
    return labels, torch.from_numpy(found.cluster_centers_).to(x)
