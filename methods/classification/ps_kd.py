"""PS-KD: self-knowledge distillation with progressive refinement of targets."""

from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.loading import labels_of


class PastPredictions(nn.Module):
    """The network's last softmax output for each training example ``[N, K]``; at first the one-hot label."""

    probabilities: Tensor

    def __init__(self, labels: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("probabilities", nn.functional.one_hot(labels, classes).float())


def refined_cross_entropy(logits: Tensor, labels: Tensor, past: Tensor, alpha: float | Tensor) -> Tensor:
    """(1 - α) H(y, p) + α H(P, p): the cross-entropy against labels mixed with past predictions, the mean over a batch.

    Args:
        logits: ``[B, K]``.
        labels: ``[B]``.
        past: what the network predicted for these examples before, probabilities ``[B, K]``.
        alpha: trust in them, in [0, 1].
    """
    log_p = logits.log_softmax(1)
    label_term = nn.functional.nll_loss(log_p, labels)
    past_term = -(past * log_p).sum(1).mean()
    return (1 - alpha) * label_term + alpha * past_term


class ProgressiveSelfDistillation(ClassificationMethod):
    """Cross-entropy against targets mixed with the network's own predictions from the epoch before.

    The target of example i in epoch t is (1 - α_t) y_i + α_t P_i, where P_i is the softmax output that the network gave for i
    when it last saw it: in the training forward pass of the epoch before, as in the official code, not in a pass of its own.
    The weight grows linearly, α_t = α_T t / T, so that the last epoch uses α_T; in the first epoch P_i = y_i, which is plain
    cross-entropy. The loss is summed over classes and averaged over the batch; the target carries no gradient.

    T is the planned number of epochs: a training stopped early follows the same schedule as a full one.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Self-Knowledge Distillation with Progressive Refinement of Targets", "Kim, Ji, Yoon, Hwang", 2021, "ICCV", "2006.12000"
    )

    final_alpha: float = weight(
        0.8, off=0.0, ge=0, le=1, symbol="α_T", differentiable=True, help="trust in the past predictions at the last epoch"
    )
    alpha_schedule: Literal["linear", "constant"] = hyperparameter(
        "linear", help="growth of the trust over epochs: linear (the paper's), or constant (its ablation)"
    )

    def build_memory(self, data: Data) -> nn.Module:
        """One-hot labels in place of past predictions."""
        return PastPredictions(labels_of(data.train, data.name), data.meta["classes"])

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """(1 - α_t) H(y, p) + α_t H(P, p), the cross-entropy against the mixed target."""
        logits = model(batch.x)
        assert isinstance(batch.memory, PastPredictions)
        past = batch.memory.probabilities[batch.index]
        alpha = weights.final_alpha * (batch.epoch / batch.epochs if self.alpha_schedule == "linear" else 1.0)
        return refined_cross_entropy(logits, batch.y, past, alpha), logits

    def remember(self, batch: Batch, logits: Tensor, run: Run) -> None:
        """Stores this forward pass's softmax outputs, from all workers: the next epoch shuffles examples among them."""
        assert isinstance(batch.memory, PastPredictions)
        with torch.no_grad():
            batch.memory.probabilities[run.gather(batch.index)] = run.gather(logits.softmax(1))
