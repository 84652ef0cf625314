"""The posterior's median or mean as a gradient of a convex network: the baseline of the track."""

from types import SimpleNamespace
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from regbench.methods.method import Paper, hyperparameter
from regbench.methods.prior_recovery.task import Batch, PriorRecoveryMethod


class PosteriorMedian(PriorRecoveryMethod):
    """Minimizes the mean absolute or squared error: f tends to the median or the mean of p(x | y), not to its mode.

    It is a proximal operator still, of another regularizer than -σ² log p. The learning rate is a tenth in the second half.
    """

    paper: ClassVar[Paper | None] = None

    loss: Literal["l1", "l2"] = hyperparameter("l1", help="mean absolute error, or mean squared error")

    def rate(self, step: int) -> float:
        """Lower in the second half."""
        return 1.0 if 2 * step < self.iterations else 0.1

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The chosen error."""
        found = model(batch.noisy)
        return (l1_loss if self.loss == "l1" else mse_loss)(found, batch.clean), found
