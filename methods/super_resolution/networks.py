"""The networks of both search spaces, with places where an operation is sought, or one that has been found."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, pixel_shuffle

from regbench.methods.super_resolution.adq import Deviation, Residual
from regbench.methods.super_resolution.convolutions import IntegerConvolution, QuantizedConvolution, Shape
from regbench.methods.super_resolution.quantizers import FULL
from regbench.methods.super_resolution.spaces import Architecture, Layer, Space, shapes

# What is not sought has so many bits.
SUPPORT_BITS = 8

Make = Callable[[Layer], nn.Module]


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        scale: high over low resolution.
        channels: C.
        cells: repeated parts of the body.
        body: layers in a cell's body.
        skip: layers in a cell's skip (space ``sr``); the space ``rfdn`` has one for each body layer but the last.
        head: layers before the body (space ``sr``).
        tail: layers after the upsampling.
    """

    scale: int
    channels: int
    cells: int
    body: int
    skip: int
    head: int
    tail: int


class SpatialAttention(nn.Module):
    """RFDN's enhanced spatial attention (Liu et al., 2020), of convolutions of 8 bits: x ⊙ sigmoid(mask(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4

        def convolution(inputs: int, outputs: int, side: int, stride: int = 1, padded: bool = True) -> QuantizedConvolution:
            return QuantizedConvolution(Shape(inputs, outputs, (side, side), stride=stride, padded=padded), SUPPORT_BITS)

        self.enter = convolution(channels, inner, 1)
        self.reduce = convolution(inner, inner, 3, stride=2, padded=False)
        self.pooled = nn.Sequential(*(convolution(inner, inner, 3) for _ in range(3)))
        self.beside = convolution(inner, inner, 1)
        self.leave = convolution(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape; H and W are at least 15."""
        entered = self.enter(x)
        pooled = self.pooled(max_pool2d(self.reduce(entered), kernel_size=7, stride=3))
        wide = interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=False)
        return x * self.leave(wide + self.beside(entered)).sigmoid()


class DistillationCell(nn.Module):
    """A cell of the RFDN-like space: features are split off at each layer, and put together at the end.

    split_i = skip_i(x), x ← x + body_i(x) for all but the last body layer; then x ← body(x), and all splits and x, of C / 2
    channels each, go through a 1 x 1 convolution and spatial attention. All of it is the body of a residual; see ``adq``.
    """

    def __init__(self, size: Size, number: int, make: Make, deviation: Deviation) -> None:
        super().__init__()
        c, count = size.channels, size.body
        self.body = nn.ModuleList(
            make(Layer(f"body.{number}.{i}", "body", c, c if i < count - 1 else c // 2, c)) for i in range(count)
        )
        self.skip = nn.ModuleList(make(Layer(f"skip.{number}.{i}", "skip", c, c // 2, c)) for i in range(count - 1))
        self.gather = QuantizedConvolution(Shape(c // 2 * count, c, (1, 1)), SUPPORT_BITS)
        self.attention = SpatialAttention(c)
        self.residual = Residual(c, deviation)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape."""
        return self.residual(x, self.distill)

    def distill(self, x: Tensor) -> Tensor:
        """What is added to x."""
        splits = []
        for body, skip in zip(self.body[:-1], self.skip, strict=True):
            splits.append(skip(x))
            x = x + body(x)
        return self.attention(self.gather(torch.cat([*splits, self.body[-1](x)], 1)))


class DistillationNetwork(nn.Module):
    """The RFDN-like space: the image repeated to C channels, cells whose outputs are put together, upsampling and a tail."""

    def __init__(self, size: Size, make: Make, deviation: Deviation) -> None:
        super().__init__()
        self.size, c = size, size.channels
        self.cells = nn.ModuleList(DistillationCell(size, number, make, deviation) for number in range(size.cells))
        self.gather = QuantizedConvolution(Shape(c * size.cells, c, (1, 1)), SUPPORT_BITS)
        self.smooth = QuantizedConvolution(Shape(c, c, (3, 3)), SUPPORT_BITS)
        self.upsample = make(Layer("upsample.0", "upsample", c, 3 * size.scale**2, c))
        tail = (Layer(f"tail.{i}", "tail", 3, 3, c, size.scale**2) for i in range(size.tail))
        self.tail = nn.Sequential(*map(make, tail))

    def forward(self, low: Tensor) -> Tensor:
        """``[N, 3, H, W]`` in [0, 1] to ``[N, 3, sH, sW]``."""
        entered = low.repeat(1, self.size.channels // 3, 1, 1)
        x, outputs = entered, []
        for cell in self.cells:
            x = cell(x)
            outputs.append(x)
        x = self.smooth(self.gather(torch.cat(outputs, 1))) + entered
        high = pixel_shuffle(self.upsample(x), self.size.scale)
        return high + self.tail(high) if len(self.tail) else high


class ResidualCell(nn.Module):
    """A cell of the space of super-resolution models: x + skip(x) + body(x), two chains of layers side by side."""

    def __init__(self, size: Size, make: Make, deviation: Deviation) -> None:
        super().__init__()
        c = size.channels
        self.body = nn.Sequential(*(make(Layer(f"body.{i}", "body", c, c, c)) for i in range(size.body)))
        self.skip = nn.Sequential(*(make(Layer(f"skip.{i}", "skip", c, c, c)) for i in range(size.skip)))
        self.residual = Residual(c, deviation)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same shape."""
        return self.residual(x, lambda given: self.skip(given) + self.body(given))


class ResidualNetwork(nn.Module):
    """The space of super-resolution models: head, cells that share their choices, upsampling and a tail with a skip."""

    def __init__(self, size: Size, make: Make, deviation: Deviation) -> None:
        super().__init__()
        self.size, c, count = size, size.channels, size.tail
        self.head = nn.Sequential(*(make(Layer(f"head.{i}", "head", c if i else 3, c, c)) for i in range(size.head)))
        self.cells = nn.Sequential(*(ResidualCell(size, make, deviation) for _ in range(size.cells)))
        self.residual = Residual(c, deviation)
        self.upsample = make(Layer("upsample.0", "upsample", c, 3 * size.scale**2, c))
        tail = (Layer(f"tail.{i}", "tail", c if i else 3, 3 if i == count - 1 else c, c, size.scale**2) for i in range(count))
        self.tail = nn.Sequential(*map(make, tail))
        self.residual_tail = Residual(3, deviation) if count else None

    def forward(self, low: Tensor) -> Tensor:
        """``[N, 3, H, W]`` in [0, 1] to ``[N, 3, sH, sW]``."""
        x = self.residual(self.head(low), self.cells)
        high = pixel_shuffle(self.upsample(x), self.size.scale)
        return high if self.residual_tail is None else self.residual_tail(high, self.tail)


NETWORKS: dict[Space, Callable[[Size, Make, Deviation], nn.Module]] = {"rfdn": DistillationNetwork, "sr": ResidualNetwork}


def layers(space: Space, size: Size) -> list[Layer]:
    """The layers of a space whose operations are to be chosen, one of each name."""
    found: dict[str, Layer] = {}

    def note(layer: Layer) -> nn.Module:
        found[layer.name] = layer
        return nn.Identity()

    NETWORKS[space](size, note, "plain")
    return list(found.values())


def quantized_network(space: Space, size: Size, architecture: Architecture, deviation: Deviation) -> nn.Module:
    """The network of an architecture, with fresh weights, to be trained with quantization."""

    def make(layer: Layer) -> nn.Module:
        operation, bits = architecture[layer.name]
        return nn.Sequential(*(QuantizedConvolution(shape, bits) for shape in shapes(operation, layer)))

    return NETWORKS[space](size, make, deviation)


def integer_network(network: nn.Module) -> nn.Module:
    """A copy of a trained network whose convolutions multiply integers; those of 32 bits stay as they are."""

    def convert(module: nn.Module) -> nn.Module:
        for name, child in module.named_children():
            if isinstance(child, QuantizedConvolution) and child.bits < FULL:
                setattr(module, name, IntegerConvolution(child))
            else:
                convert(child)
        return module

    return convert(deepcopy(network))


def bit_operations(space: Space, size: Size, architecture: Architecture, height: int = 32, width: int = 32) -> float:
    """BitOps of an architecture's network for one image: Σ F b² / 2 with F = 2 C_in C_out k_h k_w H W / groups.

    Every convolution counts, also what is not sought; H and W are those of its output. Nothing is computed but shapes.
    """
    found = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, QuantizedConvolution)
        found.append(module.shape.operations * output.shape[2] * output.shape[3] * module.bits**2 / 2)

    with torch.device("meta"):
        network = quantized_network(space, size, architecture, "plain")
        for module in network.modules():
            if isinstance(module, QuantizedConvolution):
                module.step, module.activation = None, nn.Identity()  # shapes do not depend on them
                module.register_forward_hook(count)
        with torch.no_grad():
            network(torch.zeros(1, 3, height, width))
    return sum(found)
