"""How good a classifier's probabilities are: accuracy, likelihood, calibration, and the ranking of its confidences."""

import torch
from torch import Tensor


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, error, NLL, ECE, AURC and E-AURC of logits ``[N, K]`` against labels ``[N]``; see the functions below."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    accuracy = (p.argmax(1) == labels).double().mean().item()
    return {
        "accuracy": accuracy,
        "error": 1.0 - accuracy,
        "nll": -log_p.gather(1, labels[:, None]).mean().item(),
        "ece": expected_calibration_error(p, labels),
        "aurc": area_under_risk_coverage(p, labels),
        "e_aurc": excess_area_under_risk_coverage(p, labels),
    }


def expected_calibration_error(p: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error, in [0, 1], with equal bins closed on the right.

    ECE = sum over bins b of (n_b / N) |accuracy_b - confidence_b| (Guo et al., ICML 2017, eq. 3; 10 bins as in PS-KD).

    Args:
        p: probabilities ``[N, K]``.
        labels: ``[N]``.
        bins: number of bins of equal width.
    """
    confidence, prediction = p.max(1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = (prediction == labels).to(p) - confidence
    return torch.zeros(bins, dtype=p.dtype, device=p.device).index_add(0, index, gap).abs().sum().item() / len(p)


def area_under_risk_coverage(p: Tensor, labels: Tensor) -> float:
    """Area under the risk-coverage curve, in [0, 1]: the mean over j of the error rate among the j most confident predictions.

    Geifman et al., ICLR 2019; papers often print it times 1000.

    Args:
        p: probabilities ``[N, K]``.
        labels: ``[N]``.
    """
    confidence, prediction = p.max(1)
    wrong = (prediction != labels).to(p)[confidence.argsort(descending=True, stable=True)]
    return (wrong.cumsum(0) / torch.arange(1, len(p) + 1, dtype=p.dtype, device=p.device)).mean().item()


def excess_area_under_risk_coverage(p: Tensor, labels: Tensor) -> float:
    """AURC beyond that of the best ranking of the same predictions, which puts the r wrong ones last; in [0, 1].

    E-AURC = AURC - (1 / N) sum over j = 1..r of j / (N - r + j) (Geifman et al., ICLR 2019): how well confidences separate
    right from wrong predictions, whatever the accuracy.

    Args:
        p: probabilities ``[N, K]``.
        labels: ``[N]``.
    """
    wrong = int((p.argmax(1) != labels).sum())
    j = torch.arange(1, wrong + 1, dtype=p.dtype, device=p.device)
    return area_under_risk_coverage(p, labels) - (j / (len(p) - wrong + j)).sum().item() / len(p)
