"""Differentiable search of an architecture: the supernet, and what the loss of its choices is made of."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from regbench.methods.super_resolution.adq import Deviation
from regbench.methods.super_resolution.convolutions import NoisyConvolution, Shape, SharedConvolution
from regbench.methods.super_resolution.networks import NETWORKS, Size
from regbench.methods.super_resolution.quantizers import Distribution
from regbench.methods.super_resolution.spaces import Architecture, Kind, Layer, Space, cost, shapes

Sparsity = Literal["entropy", "l1", "l1_softmax", "none"]


def entropy(logits: Iterable[Tensor]) -> Tensor:
    """Entropy H(α) = -Σ_l Σ_i p_li log p_li with p_l = softmax(α_l), summed over layers, in nats; of logits ``[K_l]`` each."""
    return -torch.stack([_negative_entropy(alpha) for alpha in logits]).sum()


def normalized_entropy(logits: Iterable[Tensor]) -> Tensor:
    """The mean over layers of H(α_l) / log K_l, from 0, all decided, to 1, all alike; a layer without a choice counts as 0."""
    return torch.stack([-_negative_entropy(alpha) / math.log(max(2, len(alpha))) for alpha in logits]).mean()


def _negative_entropy(alpha: Tensor) -> Tensor:
    log_p = alpha.log_softmax(0)
    return (log_p.exp() * log_p).sum()


def sparsity(logits: Iterable[Tensor], kind: Sparsity) -> Tensor | float:
    """What is added to the loss of the choices: the entropy, or as released Σ|α| (l1), Σ exp α (l1_softmax), or nothing."""
    if kind == "entropy":
        return entropy(logits)
    if kind == "l1":
        return torch.stack([alpha.abs().sum() for alpha in logits]).sum()
    return torch.stack([alpha.exp().sum() for alpha in logits]).sum() if kind == "l1_softmax" else 0.0


def entropy_ramp(epoch: int, epochs: int, warmup: int) -> float:
    """The share w₁ w₂ of its weight that the entropy has in an epoch, both counted from 0: 0 at first, 1 in the last one.

    w₁ = (e - W) / (E - 1 - W); w₂ = 0 where e - W < T₀ = ⌊(E - W) / 4⌋, then log_(E - T₀ - W + 1)(e - T₀ - W + 2).

    Args:
        epoch: e.
        epochs: E.
        warmup: W, epochs in which choices are not learned.
    """
    done, span = epoch - warmup, epochs - warmup
    flat = span // 4
    if done < flat:
        return 0.0
    linear = done / (span - 1) if span > 1 else 1.0
    return linear * math.log(done - flat + 2, span - flat + 1)


class Chain(nn.ModuleList):
    """The convolutions of an operation, one after the other."""

    def forward(self, x: Tensor, probabilities: Tensor, noise: float | Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, H, W]``, with the operation's probabilities ``[B]`` and the scale of the noise."""
        for convolution in self:
            x = convolution(x, probabilities, noise)
        return x


class MixedOperation(nn.Module):
    """All operations of a layer with all numbers of bits, mixed by the softmax of their logits.

    y = Σ_o [Σ_b p_ob] op_o(x; p_o), where p = softmax(α) over all operations and bits together; the index of α is o B + b.

    Attributes:
        logits: α ``[O · B]``, which layers of one name share.
        decided: whether only the largest logit counts, with probability 1.
        noise: scale of the quantization noise.
    """

    costs: Tensor

    def __init__(
        self, layer: Layer, operations: tuple[str, ...], bits: tuple[int, ...], logits: nn.Parameter, noise: "Noise"
    ) -> None:
        super().__init__()
        self.bits, self.logits = bits, logits
        self.decided = False
        self.noise: float | Tensor = 0.5
        self.operations = nn.ModuleList(
            Chain(noise.convolution(shape, bits) for shape in shapes(name, layer)) for name in operations
        )
        found = torch.tensor([float(cost(name, layer)) for name in operations])
        self.register_buffer("costs", found[:, None] * torch.tensor(bits), persistent=False)

    def probabilities(self) -> Tensor:
        """Softmax of the logits, or a one for the largest of them, ``[O, B]``."""
        p = self.logits.softmax(0)
        if self.decided:
            p = nn.functional.one_hot(p.argmax(), len(p)).to(p)
        return p.reshape(-1, len(self.bits))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, H, W]``."""
        outputs = []
        for chain, p in zip(self.operations, self.probabilities(), strict=True):
            if self.decided and not p.any():
                continue
            outputs.append(chain(x, p, self.noise) * p.sum())
        return torch.stack(outputs).sum(0) if len(outputs) > 1 else outputs[0]

    def bit_operations(self) -> Tensor:
        """Expected BitOps for one pixel in low resolution, linear in bits: Σ_ob p_ob F_o b."""
        return (self.probabilities() * self.costs).sum()


class Noise:
    """How convolutions of a supernet see bits: under quantization noise, or really quantized on shared weights.

    Args:
        kind: ``gaussian`` or ``uniform`` noise, or ``off`` for quantization.
        detached: see ``quantizers.quantization_noise``.
    """

    def __init__(self, kind: Distribution | Literal["off"], detached: bool = True) -> None:
        self.kind, self.detached = kind, detached

    def convolution(self, shape: Shape, bits: tuple[int, ...]) -> nn.Module:
        """A convolution of a mixed operation."""
        if self.kind == "off":
            return SharedConvolution(shape, bits)
        return NoisyConvolution(shape, bits, self.kind, self.detached)


class Supernet(nn.Module):
    """A network of a search space in which each layer is a mixture of all that it may become.

    Args:
        space: which network.
        size: of it.
        catalogue: operations for each kind of layer.
        bits: the B numbers of bits.
        noise: how bits are seen.
        deviation: of residuals.
    """

    def __init__(
        self,
        space: Space,
        size: Size,
        catalogue: dict[Kind, tuple[str, ...]],
        bits: tuple[int, ...],
        noise: Noise,
        deviation: Deviation,
    ) -> None:
        super().__init__()
        self.catalogue, self.bits = catalogue, bits
        self.places: dict[str, Layer] = {}
        choices: dict[str, nn.Parameter] = {}

        def make(layer: Layer) -> nn.Module:
            names = catalogue[layer.kind]
            self.places[layer.name] = layer
            logits = choices.setdefault(layer.name, nn.Parameter(torch.zeros(len(names) * len(bits))))
            return MixedOperation(layer, names, bits, logits, noise)

        self.network = NETWORKS[space](size, make, deviation)
        self.names = list(choices)
        self.logits = nn.ParameterList(choices.values())

    def mixtures(self) -> list[MixedOperation]:
        """The layers, those of repeated cells too."""
        return [module for module in self.network.modules() if isinstance(module, MixedOperation)]

    def weights(self) -> list[nn.Parameter]:
        """All parameters but the logits."""
        chosen = {id(alpha) for alpha in self.logits}
        return [parameter for parameter in self.parameters() if id(parameter) not in chosen]

    def forward(self, low: Tensor, noise: float | Tensor = 0.5, decided: bool = False) -> Tensor:
        """``[N, 3, H, W]`` in [0, 1] to ``[N, 3, sH, sW]``; decided, by the operations and bits of the largest logits alone."""
        for mixture in self.mixtures():
            mixture.noise, mixture.decided = noise, decided
        return self.network(low)

    def bit_operations(self) -> Tensor:
        """Expected BitOps of what is sought, for one pixel in low resolution, linear in bits."""
        return torch.stack([mixture.bit_operations() for mixture in self.mixtures()]).sum()

    def relative_bit_operations(self) -> Tensor:
        """BitOps over those of uniform probabilities, which are where the search begins."""
        uniform = sum(mixture.costs.mean() for mixture in self.mixtures())
        return self.bit_operations() / uniform

    def architecture(self) -> Architecture:
        """The operation and the number of bits with the largest logit of each layer."""
        found: Architecture = {}
        for name, alpha in zip(self.names, self.logits, strict=True):
            operation, bit = divmod(int(alpha.argmax()), len(self.bits))
            found[name] = (self.catalogue[self.places[name].kind][operation], self.bits[bit])
        return found
