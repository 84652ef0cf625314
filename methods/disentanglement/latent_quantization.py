"""QLAE: an autoencoder with quantized latents and unusually high weight decay."""

from types import SimpleNamespace
from typing import ClassVar, Self

from torch import Tensor, nn

from regbench.methods.disentanglement.latents import ScalarQuantizer, commitment_loss, quantization_loss
from regbench.methods.disentanglement.networks import Reconstruction
from regbench.methods.disentanglement.task import AutoencoderMethod, Batch, Model, reconstruction_loss
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.shared.data import Data

QLAE = Paper("Disentanglement via Latent Quantization", "Hsu, Dorrell, Whittington, Wu, Finn", 2023, "NeurIPS", "2305.18378")


class LatentQuantization(AutoencoderMethod):
    """Each latent takes one of n_v learned numbers of its own codebook, and all weights of both networks decay strongly.

    - z_j = V_jk with k = argmin_k |ẑ_j - V_jk|, ẑ = e(x); the decoder sees ẑ + sg[z - ẑ], so that its gradient goes to the
      encoder as it is, and never to the codebooks;
    - L = L_rec + λ_q mean_j (sg[ẑ_j] - z_j)² + λ_c mean_j (ẑ_j - sg[z_j])², means over images; L_rec is the binary
      cross-entropy, a mean over pixels;
    - θ ← θ - η (Adam(∇L) + λ_wd θ) for weights, without the decay for biases and codebooks; the gradient of what decays is
      clipped to [-1, 1], number by number.

    The optimizer applies the decay, so the objective has no gradient in λ_wd. Switched off, which takes ``quantize`` too, it is
    the plain autoencoder. ``shared_codebook`` and ``weight_decay: 0`` are the paper's ablations.
    """

    paper: ClassVar[Paper | None] = QLAE

    weight_decay: float = weight(
        0.1, off=0.0, ge=0, symbol="λ_wd", differentiable=False, help="decoupled decay of all weights but biases and codebooks"
    )
    quantization_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="λ_q", differentiable=True, help="draws codebook values to the encoder's outputs"
    )
    commitment_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="λ_c", differentiable=True, help="draws the encoder's outputs to codebook values"
    )
    quantize: bool = hyperparameter(True, help="quantize the latents; otherwise they are continuous, and have no such losses")
    num_values_per_latent: int = hyperparameter(10, ge=2, help="n_v, the numbers in a codebook")
    shared_codebook: bool = hyperparameter(False, help="one codebook for all latents")

    def baseline(self) -> Self:
        """The plain autoencoder."""
        return self.replace(quantize=False, **{name: weight.off for name, weight in self.weights().items()})

    def build_latent(self, data: Data) -> nn.Module:
        """A quantizer."""
        if not self.quantize:
            return super().build_latent(data)
        return ScalarQuantizer(self.latent_count(data), self.num_values_per_latent, shared=self.shared_codebook)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The mean of the weighted losses, and the reconstruction; see the class."""
        found = model(batch.x, None)
        loss = reconstruction_loss(found.logits, batch.x)
        continuous, quantized = found.latents.continuous, found.latents.quantized
        if continuous is not None and quantized is not None:
            loss = loss + weights.quantization_weight * quantization_loss(continuous, quantized)
            loss = loss + weights.commitment_weight * commitment_loss(continuous, quantized)
        return loss.mean(), found
