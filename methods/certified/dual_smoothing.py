"""Dual randomized smoothing: two classifiers, each of one half of the pixels, and one certificate from both votes."""

import math
from types import SimpleNamespace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from regbench.methods.certified.certificates import Certificates, lower_bound, released_radii
from regbench.methods.certified.consistency_smoothing import ConsistencySmoothing
from regbench.methods.certified.smoothing import Fill, Partition, Parts
from regbench.methods.certified.task import Batch
from regbench.methods.method import Metrics, Paper, hyperparameter, is_off, weight

# Confidence from which on the margin term asks for no more.
ENOUGH = 0.99


class DualSmoothing(ConsistencySmoothing):
    """Smooths two classifiers, f^l and f^r, of the two colours of a checkerboard of pixels, and adds their votes.

    Each sees M ⊙ (x + σ ε), its own pixels under noise, which a ``fill`` spreads over the image. Each minimizes
    cross-entropy with the consistency term of ``consistency_smoothing`` (λ = 0: ``org`` of the released code, λ = 15, k = 4:
    ``consistency``) and, weighted by μ, -(1/B) Σ over the images classified rightly of Φ⁻¹(min(max_c p_c, 0.99)), which asks
    for large margins (an option of the code). Both may start from one network trained on whole images (``pretraining_epochs``).

    With lower bounds p^l and p^r of the two shares of votes for the class c_A of most votes, each at level α/2, no perturbation
    shorter than R = (σ/√2) (Φ⁻¹(p^l) + Φ⁻¹(p^r)) changes the winner of the summed vote; where R is not positive, there is no
    certificate. Half the pixels carry the noise, so that R reaches √2 σ Φ⁻¹((α/2)^(1/n)): as far as plain smoothing under √2 σ.

    R was derived from the Neyman-Pearson bound of each half (see ``certified_radius``), not read in the paper. The released
    code's radii are larger in places and no certificates; ``released_root_acr`` (its CIFAR-10 code) and ``released_mean_acr``
    (its ImageNet code) are average radii by these, with each half at level α, to compare with what it logs, and for nothing
    else. Its checkerboard has an odd first pixel pair in each row; here it is a checkerboard.

    Switched off it is plain smoothing of the whole image with one network, under √2 σ and with as many votes in all.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Mitigating the Curse of Dimensionality for Certified Robustness via Dual Randomized Smoothing",
        "Xia, Yu, Jiang, Ding",
        2024,
        "ICLR",
        "2404.09586",
    )

    margin_weight: float = weight(
        0.0, off=0.0, ge=0, symbol="μ", differentiable=True, help="weight of the margins of images classified rightly"
    )
    sigma: float = hyperparameter(
        0.18, gt=0, may_change=True, help="standard deviation of the noise on each half, pixels in [0, 1]"
    )
    partition: Partition = hyperparameter("checkerboard", help="checkerboard: two halves; whole: one network of all pixels")
    fill: Fill = hyperparameter(
        "repeat", help="of a half: repeat (its pixel of each pair twice), block_maximum (released CIFAR-10 code) or none"
    )

    @property
    def layout(self) -> tuple[Partition, Fill]:
        """The halves and their fill."""
        return self.partition, self.fill

    def baseline(self) -> Self:
        """Plain smoothing whose radius reaches as far, with as many votes in all."""
        plain = super().baseline()
        if self.partition == "whole":
            return plain
        return plain.replace(partition="whole", sigma=math.sqrt(2) * self.sigma, n0=2 * self.n0, n=2 * self.n)

    def objective(self, model: Parts, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy plus weighted consistency and margins, summed over halves, which share no parameter."""
        loss, logits = super().objective(model, batch, weights)
        if is_off(weights.margin_weight):
            return loss, logits
        return loss - weights.margin_weight * margins(logits, batch.y).mean((1, 2)).sum(), logits

    def evaluate(self, found: Certificates, labels: np.ndarray) -> Metrics:
        """The track's metrics, and with two halves the released code's radii."""
        metrics = super().evaluate(found, labels)
        if len(found.counts) == 1:
            return metrics
        right = found.prediction == labels
        radii = released_radii(lower_bound(found.counts, found.samples, self.alpha), self.sigma)
        return metrics | {f"released_{name}_acr": float(np.where(right, radius, 0.0).mean()) for name, radius in radii.items()}


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Φ⁻¹(min(max_c p_c, 0.99)) where the label has the largest p, else 0; ``[P, k, B]`` for logits ``[P, k, B, K]``."""
    confidence, named = logits.softmax(3).max(3)
    return torch.where(named == labels, torch.special.ndtri(confidence.clamp(max=ENOUGH)), 0.0)
