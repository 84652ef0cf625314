"""k-means on pixels."""

from typing import ClassVar

from torch import Tensor

from regbench.methods.clustering.task import ClusteringEstimator, k_means
from regbench.methods.method import Paper, hyperparameter


class PixelKMeans(ClusteringEstimator):
    """Minimizes the squared distances of images to the mean of their cluster, from several starts by k-means++."""

    paper: ClassVar[Paper | None] = Paper("k-means++: The Advantages of Careful Seeding", "Arthur, Vassilvitskii", 2007, "SODA")
    off_equals: ClassVar[str | None] = None  # no network

    restarts: int = hyperparameter(40, ge=1, help="starts, of which the best counts")

    def assign(self, x: Tensor, clusters: int, seed: int) -> Tensor:
        """Clusters of the rows ``[N, D]``."""
        return k_means(x, clusters, self.restarts, seed)[0]
