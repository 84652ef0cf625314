"""Classes of what a representation is compared with, where that is not discrete."""

import warnings

import torch
from torch import Tensor


def classes_of(y: Tensor, bins: int = 10) -> Tensor:
    """Classes ``[N]``, int64, of numbers ``[N]``: whole numbers are classes; others are put into equal bins.

    Bins divide the range between the least and the largest number, which, as in the released code of DSMI, falls into the last
    one.
    """
    if not y.is_floating_point():
        return y.long()
    low, high = y.min(), y.max()
    scaled = (y - low) / torch.where(high > low, high - low, 1.0)
    edges = torch.linspace(0, 1, bins + 1, dtype=y.dtype, device=y.device)[1:-1]
    return torch.bucketize(scaled.contiguous(), edges, right=True)


def spectral_clusters(x: Tensor, clusters: int = 10) -> Tensor:
    """Clusters ``[N]``, int64, of vectors ``[N, …]`` by spectral clustering of nearest neighbours, as DSMI(Z; X) has it."""
    from sklearn.cluster import SpectralClustering

    with warnings.catch_warnings():
        # Neighbours may fall into parts that are not connected, which become clusters of their own.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        found = SpectralClustering(clusters, affinity="nearest_neighbors", assign_labels="cluster_qr", random_state=0).fit(
            x.detach().flatten(1).double().cpu().numpy()
        )
    return torch.from_numpy(found.labels_).long().to(x.device)
