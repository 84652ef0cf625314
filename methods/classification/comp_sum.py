"""Comp-sum losses: one family from sum-exponential over cross-entropy to mean absolute error."""

from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.method import Paper, weight
from regbench.methods.shared.numerics import power_difference

PAPER = Paper(
    "Cross-Entropy Loss Functions: Theoretical Analysis and Applications", "Mao, Mohri, Zhong", 2023, "ICML", "2304.07288"
)


def comp_sum_loss(logits: Tensor, labels: Tensor, tau: float | Tensor = 1.0, rho: float | Tensor = 1.0) -> Tensor:
    """The mean comp-sum loss of a batch, a scalar.

    With p the softmax probability of the label for logits h / ρ and s = -log p,
    ℓ_τ = Φ^τ(Σ_{y'≠y} exp(-(h_y - h_y')/ρ)) = (exp((1 - τ) s) - 1) / (1 - τ), and ℓ_1 = s.
    τ = 0: sum-exponential; 1: cross-entropy; 1 < τ < 2: generalized cross-entropy with q = τ - 1; 2: 1 - p.
    Differentiable in the logits, in τ (also at 1) and in ρ. It overflows with exp((1 - τ) s), where the loss itself does.

    Args:
        logits: ``[B, K]``.
        labels: ``[B]``.
        tau: index of the family, >= 0.
        rho: margin by which logits are divided, > 0.
    """
    if not isinstance(tau, Tensor) and tau == 1:
        return nn.functional.cross_entropy(logits / rho, labels)
    margins = logits / rho
    margins = margins - margins.gather(1, labels[:, None])
    others = margins.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    # s = log(1 + u) of u = Σ_{y'≠y} exp(-(h_y - h_y')/ρ), rather than -log p, which is 0 where p rounds to 1.
    s = torch.logaddexp(others, torch.zeros_like(others))
    return power_difference(s, 1 - tau).mean()


class CompSum(ClassificationMethod):
    """Minimizes a comp-sum loss: the larger τ, the less it asks of examples that the network finds implausible.

    ℓ_τ(h, x, y) = Φ^τ(Σ_{y'≠y} exp(-(h_y - h_y')/ρ)), with Φ^τ(u) = ((1 + u)^(1-τ) - 1) / (1 - τ) and Φ^1(u) = log(1 + u).
    Its gradient in the logits is that of cross-entropy times p_y^(τ-1): τ < 1 stresses hard examples, τ > 1 mutes them, which
    resists wrong labels but learns more slowly. Gradient scales differ between τ, so the learning rate must be tuned for each.
    """

    paper: ClassVar[Paper | None] = PAPER

    tau: float = weight(
        1.0, off=1.0, ge=0, le=3, symbol="τ", differentiable=True, help="index of the family; 1 is cross-entropy"
    )
    rho: float = weight(1.0, off=1.0, gt=0, symbol="ρ", differentiable=True, help="margin: logits are divided by it")

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The mean comp-sum loss."""
        logits = model(batch.x)
        return comp_sum_loss(logits, batch.y, weights.tau, weights.rho), logits
