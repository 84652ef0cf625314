"""What is predicted, and how: a real number, a probability, or the mean of a count."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

Target = Literal["real", "binary", "count"]


def response(target: Target, score: Tensor, exposure: Tensor) -> Tensor:
    """The prediction for a network's output ``[B]``: itself, its sigmoid, or exposure times its exponential."""
    if target == "real":
        return score
    return score.sigmoid() if target == "binary" else exposure * score.exp()


def loss(target: Target, score: Tensor, y: Tensor, exposure: Tensor) -> Tensor:
    """The mean squared error, binary cross-entropy, or Poisson's negative log-likelihood ŷ - y log ŷ, from outputs ``[B]``."""
    if target == "real":
        return (score - y).square().mean()
    if target == "binary":
        return binary_cross_entropy_with_logits(score, y)
    return (response(target, score, exposure) - y * (score + exposure.log())).mean()
