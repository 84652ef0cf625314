"""How good a bag classifier is, and how it spreads its attention."""

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import one_hot


def negative_entropy(attention: Tensor) -> Tensor:
    """Σ_n a_n log a_n of attention maps given by their logits, averaged over maps; ``[B]``, in [-log N, 0], natural logarithm.

    Args:
        attention: logits ``[B, K, N]``; -inf marks what is no instance and counts for nothing.
    """
    log_a = attention.log_softmax(2)
    # 0 log 0 = 0, for the value and for the gradient
    return (log_a.exp() * log_a.masked_fill(attention.isneginf(), 0.0)).sum(2).mean(1)


def attention_metrics(attention: Tensor, witnesses: Tensor | None) -> dict[str, Tensor]:
    """How bags spread their attention: a value for each bag ``[B]``, means over its K maps.

    Args:
        attention: logits ``[B, K, N]``, -inf at padding.
        witnesses: which instances are witnesses, bool ``[B, N]``; None where that is not known.

    Returns:
        ``attention_entropy`` in nats; ``attention_spread``, the entropy over log N, 1 for uniform attention and for bags of one
        instance; ``attention_largest``, the largest weight of an instance; and where known ``attention_on_witnesses``, the
        weight of all witnesses, nan in bags without one.
    """
    counts = (~attention[:, 0].isneginf()).sum(1)
    entropy = -negative_entropy(attention)
    a = attention.softmax(2).mean(1)  # [B, N]
    found = {
        "attention_entropy": entropy,
        "attention_spread": torch.where(counts > 1, entropy / counts.clamp(min=2).log(), 1.0),
        "attention_largest": attention.softmax(2).amax(2).mean(1),
    }
    if witnesses is not None:
        found["attention_on_witnesses"] = torch.where(witnesses.any(1), (a * witnesses).sum(1), torch.nan)
    return found


def bag_metrics(p: Tensor, labels: Tensor) -> dict[str, float]:
    """Macro AUROC, macro F1, accuracy and NLL of probabilities ``[B, C]`` against labels ``[B]``, each class being present."""
    classes = p.shape[1]
    prediction = p.argmax(1)
    truth = one_hot(labels, classes).double()
    predicted = one_hot(prediction, classes).double()
    hits = (truth * predicted).sum(0)
    return {
        "auroc": auroc(p, labels),
        "f1": (2 * hits / (truth.sum(0) + predicted.sum(0))).mean().item(),
        "accuracy": (prediction == labels).double().mean().item(),
        "nll": -p.gather(1, labels[:, None]).clamp(min=torch.finfo(p.dtype).tiny).log().mean().item(),
    }


def auroc(p: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve of each class against the rest, averaged over classes; nan if a score is.

    By ranks: the share of pairs of a bag of the class and another one in which the former scores higher, ties counting half.

    Args:
        p: scores ``[B, C]``.
        labels: ``[B]``, each class present.
    """
    ranks = torch.from_numpy(rankdata(p.cpu().numpy(), axis=0))
    inside = one_hot(labels.cpu(), p.shape[1]).double()
    n = inside.sum(0)
    return (((ranks * inside).sum(0) - n * (n + 1) / 2) / (n * (len(p) - n))).mean().item()
