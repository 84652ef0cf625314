"""Label smoothing, the classic remedy against overconfident classifiers."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.method import Paper, weight


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float | Tensor) -> Tensor:
    """(1 - ε) H(y, p) + ε H(u, p) for uniform u, the mean over a batch; differentiable in ε too, unlike PyTorch's own.

    Args:
        logits: ``[B, K]``.
        labels: ``[B]``.
        smoothing: ε, in [0, 1].
    """
    log_p = logits.log_softmax(1)
    nll = nn.functional.nll_loss(log_p, labels)
    return (1 - smoothing) * nll - smoothing * log_p.mean()


class LabelSmoothing(ClassificationMethod):
    """Cross-entropy against targets mixed with the uniform distribution.

    L = (1 - ε) H(y, p) + ε H(u, p), with u_k = 1/K (Szegedy et al., 2016, section 7).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Rethinking the Inception Architecture for Computer Vision", "Szegedy et al.", 2016, "CVPR", "1512.00567"
    )

    smoothing: float = weight(
        0.1, off=0.0, ge=0, le=1, symbol="ε", differentiable=True, help="share of the uniform distribution in the target"
    )

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy with smoothed targets; see the class."""
        logits = model(batch.x)
        return smoothed_cross_entropy(logits, batch.y, weights.smoothing), logits
