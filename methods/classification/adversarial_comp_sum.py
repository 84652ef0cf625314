"""ADV-COMP-SUM: a clean comp-sum loss, and a penalty on how far an attack can change the margins."""

from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.classification.adversarial import AdversarialMethod
from regbench.methods.classification.comp_sum import PAPER, CompSum
from regbench.methods.classification.task import Batch, Logits
from regbench.methods.method import Paper, is_off, weight


class AdversarialCompSum(AdversarialMethod, CompSum):
    """The smooth adversarial comp-sum loss: comp-sum at the input, plus the weighted largest change of its margins in a ball.

    L = ℓ_τ(h/ρ, x, y) + ν max_{‖x' - x‖ ≤ γ} ‖Δ(x') - Δ(x)‖₂, where Δ(x) ∈ R^(K-1) holds the margins h(x, y) - h(x, y') over
    y' ≠ y. The maximum is sought by projected gradient ascent on the norm itself, with Δ(x) held fixed; the loss has gradients
    through both Δ(x') and Δ(x). With ν ≥ √(K-1)/ρ it bounds the adversarial comp-sum ρ-margin loss from above. TRADES penalizes
    the change of the predicted distribution instead, which is bounded in p and blind to the label.

    The comp-sum term is the paper's. The penalty is a reconstruction, from secondary sources and a proof of that bound: where
    ρ and ν stand, the 2-norm and the inner maximization may differ in the paper. Its ν is not known; the default is ours,
    chosen on the digits (γ = 0.1, τ = ρ = 1).
    """

    paper: ClassVar[Paper | None] = PAPER

    nu: float = weight(
        0.3, off=0.0, ge=0, symbol="ν", differentiable=True, help="weight of the margins' largest change within the ball"
    )

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The mean smooth adversarial comp-sum loss; see the class."""
        loss, logits = super().objective(model, batch, weights)
        if is_off(weights.nu) or self.radius == 0:
            return loss, logits
        fixed = self.attacked(model, batch)
        x = self.worst(model, batch, self.radius, lambda near: margin_change(fixed, near, batch.y))
        return loss + weights.nu * margin_change(logits, model(x), batch.y).mean(), logits


def margin_change(logits: Tensor, others: Tensor, labels: Tensor) -> Tensor:
    """‖Δ' - Δ‖₂ of each example ``[B]``, Δ its label's margins over the other classes.

    Args:
        logits: ``[B, K]``, which give Δ.
        others: ``[B, K]``, which give Δ'.
        labels: ``[B]``.
    """
    change = others - logits
    margins = change.gather(1, labels[:, None]) - change  # [B, K], 0 at the label
    # Away from 0, where the root has no derivative, by as little as there is.
    return (margins.square().sum(1) + torch.finfo(margins.dtype).tiny).sqrt()
