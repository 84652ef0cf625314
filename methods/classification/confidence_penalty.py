"""The confidence penalty: reward the entropy of the predictions."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.method import Paper, weight


class ConfidencePenalty(ClassificationMethod):
    """Cross-entropy minus the weighted entropy of the predicted distribution.

    L = H(y, p) - β H(p) (Pereyra et al., 2017, section 3).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Regularizing Neural Networks by Penalizing Confident Output Distributions",
        "Pereyra, Tucker, Chorowski, Kaiser, Hinton",
        2017,
        "ICLR workshop",
        "1701.06548",
    )

    penalty: float = weight(0.1, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the output entropy")

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy minus weighted entropy; see the class."""
        logits = model(batch.x)
        log_p = logits.log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        return nn.functional.cross_entropy(logits, batch.y) - weights.penalty * entropy, logits
