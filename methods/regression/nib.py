"""NIB: the nonlinear information bottleneck, and its convex variants."""

import math
from types import SimpleNamespace
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import mse_loss

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.regression.kernels import log_kernel
from regbench.methods.regression.network import Encoding
from regbench.methods.regression.task import Batch, Model, RegressionMethod
from regbench.methods.shared.numerics import in_double


class NonlinearBottleneck(RegressionMethod):
    """Mean squared error plus β h(Î), with t = f(x) + ε, ε ~ N(0, I), and Î an upper bound of I(x; t) from pairs of codes.

    Î = -1/N Σ_i log 1/N Σ_j exp(-‖f(x_i) - f(x_j)‖² / 2), in nats (Kolchinsky and Tracey, 2017): the codes of a batch are the
    centres of a mixture of Gaussians. h(I) is I, or one of the convex functions of Rodríguez Gálvez, Thobaben and Skoglund
    (2020), I² and exp(I), by which every amount of compression can be reached. At β = 0 the noise remains: a variant of
    its own.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Nonlinear Information Bottleneck", "Kolchinsky, Tracey, Wolpert", 2019, "Entropy", "1705.02436"
    )
    off_equals: ClassVar[str | None] = None

    beta: float = weight(1e-2, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the bound of I(x; t)")
    transform: Literal["identity", "square", "exponential"] = hyperparameter("identity", help="the function h of the bound")

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Encoding]:
        """The squared error plus β h(Î); see the class."""
        found = model(batch.x, self.noise(batch))
        bound = information_bound(found.mean)
        price = {"identity": bound, "square": bound**2, "exponential": bound.exp()}[self.transform]
        return mse_loss(found.prediction, batch.y) + weights.beta * price, found


@in_double
def information_bound(codes: Tensor) -> Tensor:
    """Î of codes ``[N, K]`` before their noise, in nats, between 0 and log N; see the class."""
    return math.log(len(codes)) - log_kernel(codes, codes, 1.0).logsumexp(1).mean()
