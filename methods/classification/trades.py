"""TRADES: trade accuracy for robustness by keeping predictions constant around each input."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.classification.adversarial import AdversarialMethod
from regbench.methods.classification.task import Batch, Logits
from regbench.methods.method import Paper, is_off, weight


class TRADES(AdversarialMethod):
    """Cross-entropy plus the weighted largest divergence of the prediction within a ball around each input.

    L = H(y, p(x)) + β max_{‖x' - x‖ ≤ ε} KL(p(x) ‖ p(x')), with β = 1/λ (Zhang et al., 2019, algorithm 1). The maximum is
    sought by projected gradient ascent with p(x) held fixed; the loss has gradients through both p(x) and p(x'). The paper uses
    1/λ of 1 and 6 and starts the ascent at tiny Gaussian noise; here it starts anywhere in the ball, as for every method.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Theoretically Principled Trade-off between Robustness and Accuracy",
        "Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan",
        2019,
        "ICML",
        "1901.08573",
    )

    beta: float = weight(6.0, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the divergence within the ball")

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy plus weighted divergence; see the class."""
        loss, logits = super().objective(model, batch, weights)
        if is_off(weights.beta) or self.radius == 0:
            return loss, logits
        fixed = self.attacked(model, batch)
        x = self.worst(model, batch, self.radius, lambda near: divergence(fixed, near))
        return loss + weights.beta * divergence(logits, model(x)).mean(), logits


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p ‖ q) of each example ``[B]``, p and q the softmax of logits ``[B, K]`` and of others ``[B, K]``."""
    log_p, log_q = logits.log_softmax(1), others.log_softmax(1)
    return nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
