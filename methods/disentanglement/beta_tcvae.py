"""The β-TCVAE: of a variational autoencoder's divergence, the total correlation is what is pressed on."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.disentanglement.divergences import annealed, decompose
from regbench.methods.disentanglement.latents import DiagonalGaussian
from regbench.methods.disentanglement.networks import Reconstruction
from regbench.methods.disentanglement.task import AutoencoderMethod, Batch, Model, reconstruction_loss
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.shared.data import Data


class BetaTCVAE(AutoencoderMethod):
    """L = L_rec + (α I(x; z) + β KL(q(z) || Π_j q(z_j)) + γ Σ_j KL(q(z_j) || p(z_j))) / P, with Gaussian posteriors.

    The three parts, whose sum is the divergence of a VAE, are estimated within a mini-batch at one sample an image (equations 2
    and 3 of Chen et al., by minibatch-weighted sampling); P is how many numbers an image has, over which L_rec is a mean.
    Several workers estimate them each within its own share. β = 1 is a VAE, up to the estimate.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Isolating Sources of Disentanglement in Variational Autoencoders",
        "Chen, Li, Grosse, Duvenaud",
        2018,
        "NeurIPS",
        "1802.04942",
    )
    off_equals: ClassVar[str | None] = None

    total_correlation_weight: float = weight(
        3.0, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the total correlation of latents"
    )
    mutual_information_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="α", differentiable=True, help="weight of the information between image and latents"
    )
    dimension_wise_kl_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="γ", differentiable=True, help="weight of each latent's divergence from the prior"
    )
    annealing_steps: int = hyperparameter(0, ge=0, help="steps within which β rises from 0; 0: it is constant")

    def build_latent(self, data: Data) -> nn.Module:
        """Gaussian latents."""
        return DiagonalGaussian(self.latent_count(data))

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The mean of the weighted parts over images, and the reconstruction; see the class."""
        found = model(batch.x, batch.noise)
        latents = found.latents
        assert latents.mean is not None
        assert latents.deviation is not None
        parts = decompose(latents.z, latents.mean, latents.deviation, batch.rows, latents.log_deviation)
        divergence = (
            weights.mutual_information_weight * parts.mutual_information
            + annealed(weights.total_correlation_weight, batch.step, self.annealing_steps) * parts.total_correlation
            + weights.dimension_wise_kl_weight * parts.dimension_wise_kl
        )
        return (reconstruction_loss(found.logits, batch.x) + divergence / batch.x[0].numel()).mean(), found
