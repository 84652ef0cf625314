"""Policy gradient-driven noise masks: a policy learns which multiplicative noise to pre-train a classifier on."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn.functional import cross_entropy

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.mixed_modality.masking import MaskingMethod
from regbench.methods.mixed_modality.networks import build_features
from regbench.methods.mixed_modality.task import cosine
from regbench.methods.run import Run
from regbench.methods.shared.data import Data

# Beta samples may be 0 or 1 in single precision, where their log-density is not finite.
EDGE = 1e-6


class Policy(nn.Module):
    """Features of an image, and two heads that give the logarithms of Beta parameters for each cell of its mask.

    Args:
        features: maps images ``[B, C, H, W]`` to ``[B, F]``.
        width: F.
        cells: M.

    Attributes:
        base_a: ā ``[1, M]``, the part of the first logarithms that all images share; starts uniformly in (0, 1); no parameter.
        base_b: b̄ ``[1, M]``, likewise of the second ones.
    """

    base_a: Tensor
    base_b: Tensor

    def __init__(self, features: nn.Module, width: int, cells: int) -> None:
        super().__init__()
        self.features = features
        self.a, self.b = (_head(width, cells) for _ in range(2))
        self.register_buffer("base_a", torch.rand(1, cells))
        self.register_buffer("base_b", torch.rand(1, cells))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The heads' outputs A(h(x)) and B(h(x)), each ``[B, M]``."""
        h = self.features(x)
        return self.a(h), self.b(h)


def _head(width: int, cells: int) -> nn.Sequential:
    hidden = [layer for _ in range(2) for layer in (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, cells))


@dataclass(frozen=True)
class Episode:
    """A mini-batch on which the policy has acted.

    Attributes:
        x: images ``[B, C, H, W]``.
        y: labels ``[B]``.
        bases: ā and b̄, each ``[1, M]``, as they were when the policy acted.
        heads: A(h(x)) and B(h(x)), each ``[B, M]``, through which the policy learns.
        cells: m ``[B, M]``, what was drawn; a constant.
    """

    x: Tensor
    y: Tensor
    bases: tuple[Tensor, Tensor]
    heads: tuple[Tensor, Tensor]
    cells: Tensor


def cell_distribution(bases: tuple[Tensor, Tensor], heads: tuple[Tensor, Tensor], policy_mix: float | Tensor) -> Beta:
    """π = Beta(e^a, e^b) of each cell ``[B, M]``, with a = (1 - policy_mix) ā + policy_mix A, and b likewise.

    Args:
        bases: ā and b̄, each ``[1, M]``.
        heads: A and B, each ``[B, M]``.
        policy_mix: 1 - δ, the share of the heads.
    """
    a, b = ((1 - policy_mix) * base + policy_mix * head for base, head in zip(bases, heads, strict=True))
    return Beta(a.exp(), b.exp(), validate_args=False)


def released_loss(log_density: Tensor, cost: Tensor) -> Tensor:
    """mean_i log Σ_j π_ij(m_ij) times the mean cost, of log-densities ``[B, M]`` and costs ``[B]``: the released code's."""
    return log_density.logsumexp(1).mean() * cost.mean()


def reinforce_loss(log_density: Tensor, cost: Tensor) -> Tensor:
    """mean_i cost_i + mean_i sg[cost_i - mean cost] Σ_j log π_ij(m_ij), of log-densities ``[B, M]`` and costs ``[B]``."""
    advantage = (cost - cost.mean()).detach()
    return cost.mean() + (advantage * log_density.sum(1)).mean()


LOSSES = {"logsumexp": released_loss, "reinforce": reinforce_loss}


class NoiseMask(MaskingMethod):
    """Pre-trains under masks drawn by a policy, which learns by REINFORCE, then fine-tunes on clean images without it.

    For an image x the policy gives a = δ ā + (1 - δ) A(h(x)) and b = δ b̄ + (1 - δ) B(h(x)); each cell of the mask is drawn from
    π = Beta(e^a, e^b), without a gradient through the sample. Then ā ← (1 - η) ā + η mean_B A(h(x)), and b̄ likewise. With the
    classifier's cross-entropy CE under the mask as cost (its negative is the reward), both networks minimize

    - ``logsumexp``, the released code: [mean_i log Σ_j π_ij(m_ij)] · mean_i CE_i. The classifier's gradient is the usual one
      times a random factor, about log G² or more, which few cells can make negative, so that the classifier climbs;
      ``train/factor`` is its mean, ``train/negative_factor`` how often that happened;
    - ``reinforce``, the textbook's, which the paper names: mean_i CE_i + mean_i sg[CE_i - mean CE] Σ_j log π_ij(m_ij).

    The classifier's rate falls tenfold after each third of pre-training, the policy's along half a cosine; the weights of the
    last epochs are averaged; fine-tuning has a rate of its own and a linear warm-up. Written from the released code: which of
    the two objectives the paper prints is not known. With several workers each forms the means of its own share of a batch.
    The released code's values, for 224 pixels: G = 64, k = 13, s = 6, rates 0.1 and 0.001, 90 and 10 epochs, 7 of them warm-up.

    Switched off (no mask) there is no policy, and pre-training minimizes plain cross-entropy.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Policy Gradient-Driven Noise Mask", "Yavuz, Yang", 2024, "arXiv preprint", "2406.14568"
    )

    policy_mix: float = weight(
        0.1, off=0.0, ge=0, le=1, symbol="1-δ", differentiable=True, help="share of the image's own part in its mask's logits"
    )
    base_ema: float = hyperparameter(
        0.01, ge=0, le=1, may_change=True, help="rate η at which the shared part follows the policy's mean output"
    )
    policy_lr_ratio: float = hyperparameter(
        0.1, gt=0, may_change=True, help="learning rate of the policy relative to the classifier's"
    )
    policy_objective: Literal["logsumexp", "reinforce"] = hyperparameter(
        "logsumexp", help="logsumexp: as in the released code; reinforce: per-image cost against the batch's mean"
    )

    def build_policy(self, data: Data) -> nn.Module | None:
        """The policy, with fresh parameters; None where there is no mask."""
        if self.mask_strength == 0:
            return None
        return Policy(*build_features(self.architecture, data.meta["shape"]), self.grid_size**2)

    def policy_rate(self, epoch: int) -> float:
        """Half a cosine over pre-training."""
        return self.learning_rate * self.policy_lr_ratio * cosine(epoch, self.heating_epochs)

    def heat(
        self, model: nn.Module, policy: nn.Module | None, x: Tensor, y: Tensor, run: Run
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Lets the policy act, moves its shared part, and returns the objective."""
        if policy is None:
            return super().heat(model, policy, x, y, run)
        own = policy.module if isinstance(policy, nn.parallel.DistributedDataParallel) else policy
        assert isinstance(own, Policy)
        policy.train()
        weights = self.weight_values()
        heads = policy(x)
        bases = own.base_a.clone(), own.base_b.clone()
        with torch.no_grad():
            distribution = cell_distribution(bases, heads, weights.policy_mix)
            cells = distribution.sample().clamp(EDGE, 1 - EDGE)
            for base, head in zip((own.base_a, own.base_b), heads, strict=True):
                base.lerp_(run.gather(head.detach()).mean(0, keepdim=True), self.base_ema)
        loss, log_density = self.objective(model, Episode(x, y, bases, heads, cells), weights)
        factor = log_density.detach().logsumexp(1).mean()
        return loss, {
            "factor": factor,
            "negative_factor": (factor < 0).to(factor),
            "mask_entropy": distribution.entropy().mean(),
        }

    def objective(self, model: nn.Module, batch: Episode, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """What both networks minimize, and the cells' log-densities ``[B, M]``, as a function of the cells drawn before."""
        log_density = cell_distribution(batch.bases, batch.heads, weights.policy_mix).log_prob(batch.cells)
        logits = model(self.masked(batch.x, batch.cells, weights.mask_strength))
        cost = cross_entropy(logits, batch.y, reduction="none")
        return LOSSES[self.policy_objective](log_density, cost), log_density
