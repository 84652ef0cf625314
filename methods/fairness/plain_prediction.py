"""Plain training without protected attributes: the baseline of its track."""

from typing import ClassVar

from regbench.methods.fairness.task import FairnessMethod
from regbench.methods.method import Paper


class PlainPrediction(FairnessMethod):
    """Minimizes the loss of the target alone: squared error, binary cross-entropy, or Poisson's negative log-likelihood.

    Protected attributes are no inputs ("fairness through unawareness"); what other inputs tell of them is used freely.
    """

    paper: ClassVar[Paper | None] = None
