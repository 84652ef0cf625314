"""The β-VAE: a variational autoencoder whose posteriors are pressed to the prior."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.disentanglement.divergences import annealed, kl_loss
from regbench.methods.disentanglement.latents import DiagonalGaussian
from regbench.methods.disentanglement.networks import Reconstruction
from regbench.methods.disentanglement.task import AutoencoderMethod, Batch, Model, reconstruction_loss
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.shared.data import Data


class BetaVAE(AutoencoderMethod):
    """Latents are samples of q(z | x) = N(μ, σ²), which pay for what they tell: L = L_rec + β KL(q(z | x) || N(0, I)) / P.

    L_rec is the binary cross-entropy, a mean over the P numbers of an image, and the divergence a sum over latents, so that
    β = 1 is the evidence lower bound, divided by P. σ is the softplus of the encoder's output. Evaluated at μ. β = 0 leaves
    latents drawn at random: another model than the plain autoencoder.
    """

    paper: ClassVar[Paper | None] = Paper(
        "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
        "Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed, Lerchner",
        2017,
        "ICLR",
    )
    off_equals: ClassVar[str | None] = None

    kl_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the divergence from the prior"
    )
    annealing_steps: int = hyperparameter(0, ge=0, help="steps within which the weight rises from 0; 0: it is constant")

    def build_latent(self, data: Data) -> nn.Module:
        """Gaussian latents."""
        return DiagonalGaussian(self.latent_count(data))

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The mean of the negative evidence lower bound over P, and the reconstruction; see the class."""
        found = model(batch.x, batch.noise)
        latents = found.latents
        assert latents.mean is not None
        assert latents.deviation is not None
        divergence = kl_loss(latents.mean, latents.deviation, latents.log_deviation)
        scale = latents.mean.shape[1] / batch.x[0].numel()
        beta = annealed(weights.kl_weight, batch.step, self.annealing_steps)
        return (reconstruction_loss(found.logits, batch.x) + scale * beta * divergence).mean(), found
