"""How well clusters are classes."""

from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from regbench.methods.shared.matching import match


def clustering_metrics(clusters: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy under the best one-to-one matching, normalized mutual information, and the adjusted Rand index.

    The information is divided by the arithmetic mean of both entropies; papers of 2017 divide by the geometric mean.

    Args:
        clusters: of the rows ``[N]``, int64.
        labels: their classes ``[N]``, int64.
    """
    found, truth = clusters.cpu().numpy(), labels.cpu().numpy()
    return {
        "accuracy": (match(clusters, labels) == labels).double().mean().item(),
        "nmi": float(normalized_mutual_info_score(truth, found)),
        "ari": float(adjusted_rand_score(truth, found)),
    }
