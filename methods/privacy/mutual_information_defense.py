"""MID: limit what a prediction tells about its input, by a stochastic bottleneck before the classifier."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.privacy import networks
from regbench.methods.privacy.task import Batch, PrivacyMethod
from regbench.methods.shared.data import Data

PAPER = Paper(
    "Improving Robustness to Model Inversion Attacks via Mutual Information Regularization",
    "Wang, Zhang, Jia",
    2021,
    "AAAI",
    "2009.05241",
)

# Below, softplus is its argument's exponential to the last bit of single precision.
TINY = -20.0


class Bottleneck(nn.Module):
    """Images ``[B, C, H, W]`` to logits ``[B, K]`` through z = μ + σ ⊙ ε (eq. 2), and KL(N(μ, σ²) ‖ N(0, I)) ``[B]`` (eq. 3).

    Args:
        features: maps images to ``[B, F]``.
        width: F.
        dim: k, size of z.
        classes: K.
        shift: what is subtracted before the softplus that gives σ.
    """

    def __init__(self, features: nn.Module, width: int, dim: int, classes: int, shift: float) -> None:
        super().__init__()
        self.features = features
        self.statistics = nn.Linear(width, 2 * dim)
        self.head = nn.Linear(dim, classes)
        self.shift = shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of one draw of z, from torch's global generator, and the divergence of its distribution."""
        mean, raw = self.statistics(self.features(x)).chunk(2, dim=1)
        raw = raw - self.shift
        z = mean + softplus(raw) * torch.randn_like(mean)
        return self.head(z), divergence(mean, raw)


def divergence(mean: Tensor, raw: Tensor) -> Tensor:
    """-½ Σ_j (1 + 2 log σ_j - μ_j² - σ_j²) with σ = softplus(raw), ``[B]``, for μ and raw ``[B, k]`` (eq. 3).

    log σ = raw where σ = e^raw to rounding, so that it stays finite where σ itself is rounded to 0.
    """
    sigma = softplus(raw)
    log_sigma = torch.where(raw < TINY, raw, softplus(raw.clamp(min=TINY)).log())
    return -(1 + 2 * log_sigma - mean.square() - sigma.square()).sum(1) / 2


class MutualInformationDefense(PrivacyMethod):
    """Cross-entropy plus the weighted divergence of a noisy code from a standard Gaussian, an upper bound of I(X; Ŷ).

    min H(y, p(x)) + λ I(X; Ŷ) is the defense's problem for any model (eq. 1). In a network I(X; Ŷ) ≤ I(X; Z) ≤
    E KL(N(μ, σ²) ‖ N(0, I)) for a code z = μ + σ ⊙ ε with ε ~ N(0, I) just before the last layer, where one linear layer gives
    (μ, s) and σ = softplus(s - 5) (equations 2, 3 and 5). L = H(y, p(z)) + β KL, summed over the code, averaged over images
    (eq. 4). The noise stays when the model is used and attacked, so that its answers are random. Its weights: the released
    code has β = 0.003 for CelebA, 0.001 for FaceScrub and 0.01 by default, and a code of half as many numbers as features.

    Written from the released code, which covers networks; ``mutual_information_regression`` and ``mutual_information_tree`` are
    the other models.

    Switched off (no bottleneck) it is the plain network. With β = 0 alone, the noise is there but may vanish.
    """

    paper: ClassVar[Paper | None] = PAPER

    beta: float = weight(
        3e-3, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the bound on the information, in nats"
    )
    bottleneck: Literal["stochastic", "none"] = hyperparameter("stochastic", help="before the last layer: stochastic, or none")
    bottleneck_dim: int | None = hyperparameter(None, ge=1, help="size k of the code; None: half the number of features")
    std_shift: float = hyperparameter(
        5.0, help="what is subtracted before the softplus that gives σ: little noise at the start"
    )

    def baseline(self) -> Self:
        """The plain network."""
        return super().baseline().replace(bottleneck="none")

    def build_model(self, data: Data) -> nn.Module:
        """The network with its bottleneck."""
        if self.bottleneck == "none":
            return super().build_model(data)
        features, width = networks.features(self.architecture, data.meta["shape"], data.meta["classes"])
        return Bottleneck(features, width, self.bottleneck_dim or width // 2, data.meta["classes"], self.std_shift)

    def objective(self, model: nn.Module, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy plus β times the mean divergence, which is recorded as ``divergence``."""
        if self.bottleneck == "none":
            return super().objective(model, batch, weights)
        logits, spent = model(batch.x)
        return cross_entropy(logits, batch.y) + weights.beta * spent.mean(), {"divergence": spent.mean()}

    def answer(self, model: nn.Module, x: Tensor) -> Tensor:
        """Logits of one draw of the code."""
        return super().answer(model, x) if self.bottleneck == "none" else model(x)[0]
