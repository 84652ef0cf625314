"""Adversarial training: train on the worst inputs that an attack finds."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.classification.adversarial import AdversarialMethod
from regbench.methods.classification.attacks import cross_entropy
from regbench.methods.classification.task import Batch, Logits
from regbench.methods.method import Paper, is_off, weight


class PGDAdversarialTraining(AdversarialMethod):
    """Cross-entropy on attacked inputs in the place of the training inputs.

    min_θ E max_{‖x' - x‖ ≤ ε} H(y, p_θ(x')) (Madry et al., 2018, eq. 2.1), the inner maximum by projected gradient ascent. By
    Danskin's theorem its gradient in θ is that at the maximizer x', held fixed. The radius ε is all that there is to weigh.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Towards Deep Learning Models Resistant to Adversarial Attacks",
        "Madry, Makelov, Schmidt, Tsipras, Vladu",
        2018,
        "ICLR",
        "1706.06083",
    )

    radius: float = weight(
        0.1, off=0.0, ge=0, symbol="ε", differentiable=False, help="radius of the ball in which training seeks the worst input"
    )

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy at the worst inputs found."""
        if is_off(weights.radius):
            return super().objective(model, batch, weights)
        x = self.worst(model, batch, weights.radius, lambda near: cross_entropy(near, batch.y))
        return cross_entropy(model(x), batch.y).mean(), self.attacked(model, batch)
