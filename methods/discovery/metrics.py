"""How well known and novel classes are found."""

from torch import Tensor

from regbench.methods.shared.matching import match


def discovery_metrics(clusters: Tensor, labels: Tensor, known: int) -> dict[str, float]:
    """Accuracies under one matching of clusters with classes, over all rows: of all rows, of known and of novel classes.

    Args:
        clusters: of the rows ``[N]``, int64.
        labels: ``[N]``; the known classes come first.
        known: how many classes are known; there must be rows of known and of novel ones.
    """
    hits = (match(clusters, labels) == labels).double()
    return {
        "accuracy": hits.mean().item(),
        "known_accuracy": hits[labels < known].mean().item(),
        "novel_accuracy": hits[labels >= known].mean().item(),
    }
