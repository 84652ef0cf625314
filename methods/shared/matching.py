"""Clusters matched with classes, one to one, so that as many rows as possible agree."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def match(clusters: Tensor, labels: Tensor) -> Tensor:
    """The class of each row's cluster under the one-to-one matching with the most agreements (Kuhn, 1955).

    Where there are more clusters than classes, a cluster that is left over has a class of its own, which no row is of.

    Args:
        clusters: of the rows ``[N]``, int64, from 0.
        labels: their classes ``[N]``, int64, from 0.

    Returns:
        Classes ``[N]``: the share of rows at which they are the labels is the clustering accuracy.
    """
    size = int(torch.cat([clusters, labels]).max()) + 1
    counts = torch.bincount(clusters * size + labels, minlength=size * size).view(size, size)  # [clusters, classes]
    _, classes = linear_sum_assignment(counts.cpu().numpy(), maximize=True)
    return torch.from_numpy(classes).to(clusters.device)[clusters]
