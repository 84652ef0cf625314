"""MID for linear regression: limit the information that a released prediction carries about its input."""

import math
from types import SimpleNamespace
from typing import ClassVar, Literal

from torch import Tensor, nn

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.privacy.mutual_information_defense import PAPER
from regbench.methods.private_regression.task import Batch, PrivateRegressionMethod, covariance, gaussian_information
from regbench.methods.shared.numerics import in_double


class MutualInformationRegression(PrivateRegressionMethod):
    """The mean squared error plus λ times the mutual information of input and noisy prediction.

    min over w, b of mean (wᵀx + b - y)² + λ I(X; Ŷ), with Ŷ = wᵀX + b + σ₀ ξ. ``gaussian`` takes X as Gaussian, where
    I = ½ log(1 + wᵀΣw/σ₀²) (eq. 6); ``pairwise`` takes the rows as they are and bounds the entropy of the mixture of Gaussians
    that Ŷ then is, I ≤ -(1/N) Σ_i log (1/N) Σ_j exp(-(ŷ_i - ŷ_j)² / 2σ₀²) (eq. 7, after Kolchinsky and Tracey, Entropy 2017),
    which takes N² pairs. Both shrink the spread of predictions.

    A reconstruction: the paper treats linear regression, but how it approximates the information could not be read, and its
    code is for networks alone. The default of λ is ours.
    """

    paper: ClassVar[Paper | None] = PAPER

    information_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the mutual information, in nats"
    )
    estimate: Literal["gaussian", "pairwise"] = hyperparameter("gaussian", help="of the information: gaussian or pairwise")

    def objective(self, model: nn.Module, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The mean squared error plus weighted information."""
        loss, predicted = super().objective(model, batch, weights)
        if is_off(weights.information_weight):
            return loss, predicted
        if self.estimate == "gaussian":
            (w, _) = model.parameters()
            information = gaussian_information(w[0], covariance(batch.x), self.output_noise_std)
        else:
            information = pairwise_information(predicted, self.output_noise_std)
        return loss + weights.information_weight * information, predicted


@in_double
def pairwise_information(predicted: Tensor, noise: float) -> Tensor:
    """-(1/N) Σ_i log (1/N) Σ_j exp(-(ŷ_i - ŷ_j)² / 2σ₀²) in nats, between 0 and log N, for predictions ``[N]`` (eq. 7)."""
    exponents = -((predicted[:, None] - predicted) / noise).square() / 2
    return math.log(len(predicted)) - exponents.logsumexp(1).mean()
