"""Convolutions whose weights and activations have few bits: exactly, as integers, or as mixtures while the number is sought."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from regbench.methods.super_resolution import quantizers
from regbench.methods.super_resolution.quantizers import FULL, STEPS, Distribution


@dataclass(frozen=True)
class Shape:
    """Of a convolution without bias.

    Attributes:
        inputs, outputs: channels.
        kernel: height and width, odd.
        groups: of channels that do not see one another.
        stride: of both axes.
        padded: whether the image keeps its size, filled up with zeros.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    groups: int = 1
    stride: int = 1
    padded: bool = True

    @property
    def operations(self) -> int:
        """Multiplications and additions for one output pixel: 2 C_in C_out k_h k_w / groups."""
        return 2 * self.inputs * self.outputs * self.kernel[0] * self.kernel[1] // self.groups

    def weight(self) -> nn.Parameter:
        """Fresh weights ``[O, I / groups, k_h, k_w]``, initialized as those of ``nn.Conv2d``."""
        convolution = nn.Conv2d(self.inputs, self.outputs, self.kernel, groups=self.groups, bias=False)
        return nn.Parameter(convolution.weight.detach())

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution of ``[N, I, H, W]``."""
        padding = (self.kernel[0] // 2, self.kernel[1] // 2) if self.padded else 0
        return conv2d(x, weight, stride=self.stride, padding=padding, groups=self.groups)


class Activation(nn.Module):
    """What stands before a convolution: HWGQ, which includes the rectifier, or with 32 bits a parametric one."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.rectifier = nn.PReLU(init=0.1) if bits >= FULL else None

    def forward(self, x: Tensor) -> Tensor:
        """Quantized activations, of the shape of x."""
        return quantizers.hwgq(x, self.bits) if self.rectifier is None else self.rectifier(x)


class QuantizedConvolution(nn.Module):
    """The convolution of a final network: LSQ's weights, with a learned step a channel, and HWGQ's activations.

    With 32 bits neither is quantized.
    """

    def __init__(self, shape: Shape, bits: int) -> None:
        super().__init__()
        self.shape, self.bits = shape, bits
        self.weight = shape.weight()
        self.step = nn.Parameter(quantizers.initial_step(self.weight, bits)) if bits < FULL else None
        self.activation: nn.Module = Activation(bits)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, H', W']``."""
        weight = self.weight if self.step is None else quantizers.lsq(self.weight, self.step, self.bits)
        return self.shape.apply(self.activation(x), weight)


class IntegerConvolution(nn.Module):
    """A trained convolution as it is deployed: weights of b bits and activations of b bits, multiplied as integers.

    y = (s Δ) · (W_int * x_int) with one factor a channel. The integers are carried by floats, in which their sums are exact:
    single precision where these stay below 2²⁴, otherwise double precision.
    """

    integers: Tensor
    factor: Tensor

    def __init__(self, trained: QuantizedConvolution) -> None:
        super().__init__()
        if trained.step is None:
            raise ValueError("a convolution of 32 bits has no integers")
        self.shape, self.bits = trained.shape, trained.bits
        found = quantizers.weight_integers(trained.weight.detach(), trained.step.detach(), self.bits)
        kind = torch.int8 if self.bits <= 8 else torch.int32
        self.register_buffer("integers", found.to(kind))
        self.register_buffer("factor", (trained.step.detach() * STEPS[self.bits]).reshape(-1, 1, 1))
        largest = found.abs().flatten(1).sum(1).max().item() * (2**self.bits - 1)
        self.carrier = torch.float32 if largest < 2**24 else torch.float64

    def forward(self, x: Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, H', W']``."""
        activations = quantizers.activation_integers(x, self.bits).to(self.carrier)
        sums = self.shape.apply(activations, self.integers.to(self.carrier))
        return sums.to(x.dtype) * self.factor


class NoisyConvolution(nn.Module):
    """The convolution of an operation under quantization noise: one for all numbers of bits.

    y = W̃ * x̃ with x̃ and W̃ the mixtures of ``quantizers.noisy_mixture`` of the rectified input and of the weights. Out of
    training there is no noise.

    Args:
        shape: of the convolution.
        bits: the B numbers of bits to choose from.
        distribution: of the noise.
        detached: see ``quantizers.quantization_noise``.
    """

    def __init__(self, shape: Shape, bits: tuple[int, ...], distribution: Distribution, detached: bool) -> None:
        super().__init__()
        self.shape, self.bits, self.distribution, self.detached = shape, bits, distribution, detached
        self.weight = shape.weight()

    def forward(self, x: Tensor, probabilities: Tensor, scale: float | Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, H, W]``, with the probabilities ``[B]`` and the scale of the noise."""

        def mixed(tensor: Tensor) -> Tensor:
            noise = scale if self.training else 0.0
            return quantizers.noisy_mixture(tensor, probabilities, self.bits, noise, self.distribution, detached=self.detached)

        return self.shape.apply(mixed(x.relu()), mixed(self.weight))


class SharedConvolution(nn.Module):
    """The convolution of an operation that is really quantized while bits are sought, on shared weights.

    y = W̃ * x̃ with W̃ = Σ_b a_b LSQ_b(W), x̃ = Σ_b a_b HWGQ_b(x) and a_b = p_b / Σ p.
    """

    def __init__(self, shape: Shape, bits: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.bits = shape, bits
        self.weight = shape.weight()
        self.steps = nn.ParameterList([quantizers.initial_step(self.weight, b) for b in bits if b < FULL])
        self.activations = nn.ModuleList([Activation(b) for b in bits])

    def forward(self, x: Tensor, probabilities: Tensor, scale: float | Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, H, W]``, with the probabilities ``[B]``; there is no noise to scale."""
        shares = probabilities / probabilities.sum()
        steps = iter(self.steps)
        weights = [self.weight if b >= FULL else quantizers.lsq(self.weight, next(steps), b) for b in self.bits]
        weight = sum(share * quantized for share, quantized in zip(shares, weights, strict=True))
        activations = sum(share * quantize(x) for share, quantize in zip(shares, self.activations, strict=True))
        return self.shape.apply(activations, weight)
