"""The VQ-VAE: latents are vectors out of one codebook."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.disentanglement.latents import VectorQuantizer, commitment_loss, quantization_loss
from regbench.methods.disentanglement.networks import Reconstruction
from regbench.methods.disentanglement.task import AutoencoderMethod, Batch, Model, reconstruction_loss
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.shared.data import Data


class VectorQuantizedAutoencoder(AutoencoderMethod):
    """Each of n_z vectors becomes the nearest of K learned embeddings, which all of them share.

    L = L_rec + λ_q ‖sg[ẑ] - z‖² / D + λ_c ‖ẑ - sg[z]‖² / D with the straight-through gradient, D numbers in all latents
    together. What is evaluated are the embeddings' indices. Without the losses the embeddings stay where they start: another
    model than the plain autoencoder.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Neural Discrete Representation Learning", "van den Oord, Vinyals, Kavukcuoglu", 2017, "NeurIPS", "1711.00937"
    )
    off_equals: ClassVar[str | None] = None

    quantization_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="λ_q", differentiable=True, help="draws embeddings to the encoder's outputs"
    )
    commitment_weight: float = weight(
        0.25, off=0.0, ge=0, symbol="λ_c", differentiable=True, help="draws the encoder's outputs to embeddings"
    )
    num_embeddings: int = hyperparameter(512, ge=2, help="K, embeddings in the codebook")
    embedding_size: int = hyperparameter(64, ge=1, help="numbers in an embedding")

    def build_latent(self, data: Data) -> nn.Module:
        """A quantizer of vectors."""
        return VectorQuantizer(self.latent_count(data), self.num_embeddings, self.embedding_size)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The mean of the weighted losses, and the reconstruction; see the class."""
        found = model(batch.x, None)
        continuous, quantized = found.latents.continuous, found.latents.quantized
        assert continuous is not None
        assert quantized is not None
        loss = reconstruction_loss(found.logits, batch.x)
        loss = loss + weights.quantization_weight * quantization_loss(continuous, quantized)
        loss = loss + weights.commitment_weight * commitment_loss(continuous, quantized)
        return loss.mean(), found
