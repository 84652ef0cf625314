"""Spectral clustering of pixels."""

from typing import ClassVar

import torch
from sklearn.cluster import SpectralClustering
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from regbench.methods.clustering.task import ClusteringEstimator
from regbench.methods.method import Paper, hyperparameter


class Spectral(ClusteringEstimator):
    """k-means on the leading eigenvectors of the normalized graph Laplacian of images that are near each other.

    The graph joins each image with its nearest ones, both ways; a join from one side alone counts half.
    """

    paper: ClassVar[Paper | None] = Paper(
        "On Spectral Clustering: Analysis and an Algorithm", "Ng, Jordan, Weiss", 2001, "NeurIPS"
    )
    off_equals: ClassVar[str | None] = None  # no network

    neighbours: int = hyperparameter(20, ge=2, help="images that each image is joined with, itself among them")

    def assign(self, x: Tensor, clusters: int, seed: int) -> Tensor:
        """Clusters of the rows ``[N, D]``."""
        graph = kneighbors_graph(x.numpy(), min(self.neighbours, len(x)), include_self=True)
        solver = SpectralClustering(clusters, affinity="precomputed", random_state=seed, assign_labels="kmeans")
        return torch.from_numpy(solver.fit_predict(0.5 * (graph + graph.T))).long()
