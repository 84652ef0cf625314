"""CS-IB: an information bottleneck for regression with Cauchy-Schwarz divergences in both terms."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.regression.kernels import (
    Denominator,
    automatic_width,
    conditional_cs_divergence,
    cs_information,
)
from regbench.methods.regression.network import Encoding
from regbench.methods.regression.task import Batch, Model, RegressionMethod
from regbench.methods.shared.numerics import in_double


class CauchySchwarzBottleneck(RegressionMethod):
    """min D_CS(p(y|x); q_θ(ŷ|x)) + β I_CS(x; t), both from Gaussian kernels on the mini-batch: no distribution is assumed.

    The first term (proposition 1) takes the place of the mean squared error, the second (proposition 2) compresses the code t;
    see ``kernels.py``. Where paper and released code differ, options name the choice: the paper's ``denominator`` (Σ_i K_ji)²
    or the code's Σ_i K_ji²; I_CS as in the paper, or over √(I_CS(x;x) I_CS(t;t)) as the code trains (``normalized_qmi``). The
    code's logarithms have base 2, which scales loss and β alike; here they are natural. Its training uses widths of 1; the
    ``automatic`` ones belong to its estimator of I_CS, which takes them where it is given no width.

    Switched off (β = 0, ``prediction_loss`` mse) it is plain regression; with β = 0 alone, the conditional divergence alone.
    As σ_x → 0 the first term tends to the correntropy loss, and then as σ_y → ∞ σ_y² times it to the mean squared error.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Cauchy-Schwarz Divergence Information Bottleneck for Regression",
        "Yu, Yu, Løkse, Jenssen, Príncipe",
        2024,
        "ICLR",
        "2404.17951",
    )

    beta: float = weight(1e-2, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the compression I_CS(x; t)")
    kernel_bandwidth_x: float = weight(
        1.0, off=1.0, gt=0, symbol="σ_x", differentiable=True, help="kernel width on inputs; without effect when switched off"
    )
    kernel_bandwidth_y: float = weight(
        1.0, off=1.0, gt=0, symbol="σ_y", differentiable=True, help="kernel width on targets; without effect when switched off"
    )
    kernel_bandwidth_t: float = weight(
        1.0, off=1.0, gt=0, symbol="σ_t", differentiable=True, help="kernel width on codes; without effect when switched off"
    )
    prediction_loss: Literal["cs", "mse"] = hyperparameter("cs", help="cs (conditional Cauchy-Schwarz divergence) or mse")
    denominator: Denominator = hyperparameter("paper", help="of the conditional divergence: paper or code, which differ")
    normalized_qmi: bool = hyperparameter(True, help="divide I_CS(x; t) by the root of both self-informations (released code)")
    qmi_widths: Literal["fixed", "automatic"] = hyperparameter(
        "fixed", help="kernel widths of I_CS: σ_x and σ_t, or ten times the median squared distance (released code)"
    )
    stochastic: bool = hyperparameter(False, help="learned Gaussian noise on the code (the released training leaves it out)")

    @property
    def learned_noise(self) -> bool:
        """With ``stochastic``."""
        return self.stochastic

    def baseline(self) -> Self:
        """Also takes the squared error for prediction, and no noise."""
        return super().baseline().replace(prediction_loss="mse", stochastic=False)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Encoding]:
        """The conditional divergence plus β times the compression; see the class."""
        found = model(batch.x, self.noise(batch) if self.stochastic else None)
        if self.prediction_loss == "cs":
            loss = conditional_cs_divergence(
                batch.x,
                batch.y[:, None],
                found.prediction[:, None],
                weights.kernel_bandwidth_x,
                weights.kernel_bandwidth_y,
                self.denominator,
            )
        else:
            loss = torch.nn.functional.mse_loss(found.prediction, batch.y)
        if is_off(weights.beta):
            return loss, found
        return loss + weights.beta * self.compression(batch.x, found.t, weights), found

    @in_double
    def compression(self, x: Tensor, t: Tensor, weights: SimpleNamespace) -> Tensor:
        """I_CS(x; t) of inputs ``[B, d]`` and codes ``[B, K]``, normalized or not."""
        if self.qmi_widths == "automatic":
            widths = [automatic_width(v) for v in (x, t)]
        else:
            widths = [weights.kernel_bandwidth_x, weights.kernel_bandwidth_t]
        return cs_information(x, t, *widths, normalized=self.normalized_qmi)
