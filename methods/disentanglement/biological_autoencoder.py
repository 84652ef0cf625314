"""The BioAE: an autoencoder whose latents are to be nonnegative and small."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.disentanglement.networks import Reconstruction
from regbench.methods.disentanglement.task import AutoencoderMethod, Batch, Model, reconstruction_loss
from regbench.methods.method import Paper, weight


class BiologicalAutoencoder(AutoencoderMethod):
    """L = L_rec + λ_n mean_j max(-z_j, 0) + λ_a mean_j z_j², means over latents and images; decay of weights is its third part.

    The weights are those of QLAE's released code, whose baseline it is; its decay of 1e-4 is ``weight_decay`` here.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Disentanglement with Biological Constraints: A Theory of Functional Cell Types",
        "Whittington, Dorrell, Ganguli, Behrens",
        2023,
        "ICLR",
        "2210.01768",
    )

    nonnegative_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="λ_n", differentiable=True, help="weight of what latents are below 0"
    )
    activity_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="λ_a", differentiable=True, help="weight of the latents' squares"
    )

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The mean of the weighted losses, and the reconstruction; see the class."""
        found = model(batch.x, None)
        z = found.latents.z
        loss = reconstruction_loss(found.logits, batch.x)
        loss = loss + weights.nonnegative_weight * nonnegative_loss(z) + weights.activity_weight * activity_loss(z)
        return loss.mean(), found


def nonnegative_loss(z: Tensor) -> Tensor:
    """mean_j max(-z_j, 0) of latents ``[B, n_z]``; ``[B]``."""
    return (-z).clamp(min=0).mean(1)


def activity_loss(z: Tensor) -> Tensor:
    """mean_j z_j² of latents ``[B, n_z]``; ``[B]``."""
    return z.square().mean(1)
