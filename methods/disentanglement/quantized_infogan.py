"""QLInfoWGAN-GP: latent quantization in an InfoGAN."""

from types import SimpleNamespace
from typing import ClassVar, Self

from torch import Tensor, nn

from regbench.methods.disentanglement.adversarial import AdversarialMethod
from regbench.methods.disentanglement.latent_quantization import QLAE
from regbench.methods.disentanglement.latents import Latents, ScalarQuantizer, Uniform, commitment_loss, quantization_loss
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.shared.data import Data


class QuantizedInfoGAN(AdversarialMethod):
    """An InfoGAN whose latents are drawn uniformly from learned codebooks, one for each latent, and found by quantization.

    To the losses of an InfoWGAN-GP it adds λ_q mean_j (sg[ẑ_j] - z_j)² + λ_c mean_j (ẑ_j - sg[z_j])² of the latents found in
    generated images, and to its optimizer a decay of weights. Codebooks move with the generator, which also reaches them
    through the latents drawn from them. Switched off, which takes ``quantize`` too, it is the InfoWGAN-GP.
    """

    paper: ClassVar[Paper | None] = QLAE
    off_equals: ClassVar[str | None] = "infowgan"

    weight_decay: float = weight(
        1e-3, off=0.0, ge=0, symbol="λ_wd", differentiable=False, help="decoupled decay of all weights but biases and codebooks"
    )
    quantization_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="λ_q", differentiable=True, help="draws codebook values to the encoder's outputs"
    )
    commitment_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="λ_c", differentiable=True, help="draws the encoder's outputs to codebook values"
    )
    quantize: bool = hyperparameter(True, help="quantize the latents; otherwise they are uniform, and have no such losses")
    num_values_per_latent: int = hyperparameter(10, ge=2, help="n_v, the numbers in a codebook")

    def baseline(self) -> Self:
        """The InfoWGAN-GP, its own weights off too."""
        return self.replace(quantize=False, **{name: weight.off for name, weight in self.weights().items()})

    def build_latent(self, data: Data) -> nn.Module:
        """A quantizer."""
        count = self.latent_count(data)
        return ScalarQuantizer(count, self.num_values_per_latent) if self.quantize else Uniform(count)

    def code_losses(self, latents: Latents, weights: SimpleNamespace) -> Tensor | float:
        """The weighted quantization and commitment losses ``[B]``."""
        if latents.continuous is None or latents.quantized is None:
            return 0.0
        drawn = weights.quantization_weight * quantization_loss(latents.continuous, latents.quantized)
        return drawn + weights.commitment_weight * commitment_loss(latents.continuous, latents.quantized)
