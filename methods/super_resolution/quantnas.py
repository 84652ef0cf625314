"""QuantNAS: a search for architectures that bear quantization, under quantization noise and with the entropy of choices."""

from types import SimpleNamespace
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import l1_loss

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.super_resolution.quantizers import Distribution
from regbench.methods.super_resolution.search import Noise, Sparsity, entropy_ramp, sparsity
from regbench.methods.super_resolution.searching import Batch, SearchMethod, unwrapped

BITS = {"4+8": (4, 8), "2+4+8": (2, 4, 8), "4": (4,), "8": (8,)}


class QuantNAS(SearchMethod):
    """Searches operations and bits together, and drives each layer to one of them.

    The loss of the choices is |ŷ - y| + η BitOps(α) / BitOps(α₀) + μ(e) H(α): the entropy H of all choices, summed over
    layers, is added with a weight μ that rises from 0 after a warm-up, see ``search.entropy_ramp``. Bits are not simulated by
    quantizing, but by noise of the size of a step, one convolution for all bits, see ``convolutions.NoisyConvolution``; ``off``
    quantizes shared weights instead. Residuals adapt to the deviation of features (ADQ); see ``adq``.

    BitOps are linear in bits in the search, and quadratic in what is reported, as in the released code.
    """

    paper: ClassVar[Paper | None] = Paper(
        "QuantNAS for super resolution: searching for efficient quantization-friendly architectures against quantization noise",
        "Shvetsov, Osin, Zaytsev, Koryakovskiy, Buchnev, Trofimov, Burnaev",
        2024,
        "IEEE Access",
        "2208.14839",
    )

    entropy_weight: float = weight(
        1e-3, off=0.0, ge=0, symbol="μ", differentiable=True, help="of the entropy of choices, in the last epoch of the search"
    )
    noise_scale: float = weight(
        # What is not sought is rounded, so that the loss is differentiable in what is before it straight-through alone.
        0.5,
        off=0.0,
        ge=0,
        le=1,
        symbol="ξ",
        differentiable=False,
        help="of the noise, in steps of quantization",
    )
    quantization_noise: Distribution | Literal["off"] = hyperparameter(
        "gaussian", help="bits in the search: gaussian or uniform noise, or off: shared weights really quantized"
    )
    detached: bool = hyperparameter(
        True, help="noisy tensors pass no gradient, as released; otherwise the noise alone passes none"
    )
    sparsity_type: Sparsity = hyperparameter(
        "entropy", help="what entropy_weight weighs: entropy, or as released l1 or l1_softmax, from the first epoch on, or none"
    )
    bits: Literal["4+8", "2+4+8", "4", "8"] = hyperparameter("4+8", help="numbers of bits to choose from")

    def bit_choices(self) -> tuple[int, ...]:
        """The numbers of bits among which the search chooses."""
        return BITS[self.bits]

    def noise(self) -> Noise:
        """How the search sees bits."""
        return Noise(self.quantization_noise, self.detached)

    def objective(self, model: nn.Module, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The loss of the choices with the price of BitOps and the entropy."""
        found = model(batch.low, weights.noise_scale)
        loss = l1_loss(found, batch.high) + self.price(unwrapped(model), weights)
        if not is_off(weights.entropy_weight):
            ramp = (
                entropy_ramp(batch.epoch, self.search_epochs, self.entropy_warmup) if self.sparsity_type == "entropy" else 1.0
            )
            loss = loss + weights.entropy_weight * ramp * sparsity(unwrapped(model).logits, self.sparsity_type)
        return loss, found

    def reconstruct(self, model: nn.Module, low: Tensor) -> Tensor:
        """What the supernet makes of patches, under noise."""
        return model(low, self.noise_scale)
