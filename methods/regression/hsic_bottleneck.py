"""The HSIC bottleneck as a regularizer."""

import math
from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper, weight
from regbench.methods.regression.kernels import hsic
from regbench.methods.regression.network import Encoding
from regbench.methods.regression.task import Batch, Model, RegressionMethod

# Kernel widths are 5 √d for a variable of d dimensions, as in the authors' experiments.
WIDTH = 5.0


class HsicBottleneck(RegressionMethod):
    """Mean squared error plus λ_x HSIC(x, t) - λ_y HSIC(y, t): less of the input, more of the target in the code.

    The original sums over all hidden layers of a classifier; here the code is the one layer that is regularized.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Revisiting Hilbert-Schmidt Information Bottleneck for Adversarial Robustness",
        "Wang, Jian, Masoomi, Ioannidis, Dy",
        2021,
        "NeurIPS",
        "2106.02734",
    )

    lambda_x: float = weight(0.006, off=0.0, ge=0, symbol="λ_x", differentiable=True, help="weight of HSIC(x, t), to be small")
    lambda_y: float = weight(0.05, off=0.0, ge=0, symbol="λ_y", differentiable=True, help="weight of HSIC(y, t), to be large")

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Encoding]:
        """The squared error and both dependences; see the class."""
        loss, found = super().objective(model, batch, weights)
        of_t = WIDTH * math.sqrt(self.bottleneck_dim)
        with_x = hsic(batch.x, found.t, (WIDTH * math.sqrt(batch.x.shape[1]), of_t))
        with_y = hsic(batch.y[:, None], found.t, (WIDTH, of_t))
        return loss + weights.lambda_x * with_x - weights.lambda_y * with_y, found
