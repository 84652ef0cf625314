"""Blurred confidences: answers are mixed with the uniform distribution."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.method import Paper, weight
from regbench.methods.privacy.task import PrivacyMethod

# Below, what is left of a probability is rounding error.
ROUNDING = 1e-7


class UniformMixing(PrivacyMethod):
    """Answers (1 - w) p + w/K in the place of the prediction p of a classifier that is trained as usual.

    The largest probability stays the largest, so that accuracy does not change. But the map is one to one, and an attacker who
    knows w undoes it, up to rounding: it protects from those alone who do not think of it. A competitor in the released code
    of ``mutual_information_defense``, which mixes raw outputs; probabilities are mixed here.
    """

    paper: ClassVar[Paper | None] = None

    share: float = weight(0.5, off=0.0, ge=0, lt=1, symbol="w", differentiable=False, help="share of the uniform distribution")

    def answer(self, model: nn.Module, x: Tensor) -> Tensor:
        """log((1 - w) p + w/K), or logits where w is 0."""
        logits = model(x)
        if self.share == 0:
            return logits
        uniform = torch.full_like(logits, math.log(self.share / logits.shape[1]))
        return torch.logaddexp(math.log1p(-self.share) + logits.log_softmax(1), uniform)

    def undo(self, answers: Tensor) -> Tensor:
        """The logarithm of p, as far as rounding leaves it."""
        if self.share == 0:
            return answers
        return ((answers.exp() - self.share / answers.shape[1]) / (1 - self.share)).clamp(min=ROUNDING).log()
