"""Mixup: train on mixtures of examples."""

from types import SimpleNamespace
from typing import ClassVar

import torch
from scipy.special import betaincinv
from torch import Tensor, nn

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.method import Paper, weight


class Mixup(ClassificationMethod):
    """Replaces each mini-batch by a mixture with itself in another order, inputs and targets alike.

    x̃ = λ x_i + (1 - λ) x_j and L = λ H(y_i, f(x̃)) + (1 - λ) H(y_j, f(x̃)), where j is a random permutation of the batch and
    λ ~ Beta(α, α) is drawn once for each batch (Zhang et al., 2018, section 2). The larger α, the closer λ is to one half.

    Switched off (α → 0), λ is 0 or 1: plain cross-entropy.
    """

    numbers_only: ClassVar[bool] = True
    paper: ClassVar[Paper | None] = Paper(
        "mixup: Beyond Empirical Risk Minimization", "Zhang, Cissé, Dauphin, Lopez-Paz", 2018, "ICLR", "1710.09412"
    )

    alpha: float = weight(
        1.0, off=0.0, ge=0, symbol="α", differentiable=False, help="strength of the mixing: λ is drawn from Beta(α, α)"
    )

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The mixed cross-entropy; the logits are those of the mixtures."""
        if not weights.alpha:
            return super().objective(model, batch, weights)
        device = batch.x.device
        # The quantile function turns a uniform number into λ, so that all numbers come from the run's stream.
        uniform = torch.rand((), generator=batch.generator, device=device).item()
        share = float(betaincinv(weights.alpha, weights.alpha, uniform))
        other = torch.randperm(len(batch.x), generator=batch.generator, device=device)
        logits = model(share * batch.x + (1 - share) * batch.x[other])
        loss = share * nn.functional.cross_entropy(logits, batch.y)
        return loss + (1 - share) * nn.functional.cross_entropy(logits, batch.y[other]), logits
