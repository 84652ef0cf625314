"""VIB: the variational information bottleneck."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import mse_loss

from regbench.methods.method import Paper, weight
from regbench.methods.regression.network import Encoding
from regbench.methods.regression.task import Batch, Model, RegressionMethod


class VariationalBottleneck(RegressionMethod):
    """Mean squared error plus β E_x KL(N(μ(x), diag σ²(x)) ‖ N(0, I)), an upper bound of I(x; t), with t = μ + σ ε.

    A Gaussian decoder of fixed variance turns the cross-entropy of the original into the squared error. At β = 0 noise remains,
    as small as training likes: a variant of its own rather than plain regression.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Deep Variational Information Bottleneck", "Alemi, Fischer, Dillon, Murphy", 2017, "ICLR", "1612.00410"
    )
    off_equals: ClassVar[str | None] = None

    beta: float = weight(
        1e-3, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the code's divergence from N(0, I)"
    )

    @property
    def learned_noise(self) -> bool:
        """Always."""
        return True

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Encoding]:
        """The squared error plus β times the divergence, a mean over the batch; see the class."""
        found = model(batch.x, self.noise(batch))
        assert found.log_variance is not None
        divergence = 0.5 * (found.mean.square() + found.log_variance.exp() - 1 - found.log_variance).sum(1).mean()
        return mse_loss(found.prediction, batch.y) + weights.beta * divergence, found
