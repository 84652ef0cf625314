"""Residual networks whose blocks activate first (He et al., ECCV 2016), as narrow and deep ones or as wide ones."""

from collections.abc import Sequence

from torch import Tensor, nn


class PreActivationResNet(nn.Sequential):
    """Images ``[B, C, H, W]`` to logits ``[B, K]``: a 3 x 3 stem, stages of blocks, normalization, activation, average.

    A block has two 3 x 3 convolutions; the first block of each stage but the first halves the image. Pre-activation ResNet-18
    has a stem of 64 channels and two blocks in each stage, of 64, 128, 256 and 512. A wide ResNet (Zagoruyko and Komodakis,
    BMVC 2016) of depth 6 n + 4 and factor k has a stem of 16 and n blocks in each stage, of 16 k, 32 k and 64 k. Convolutions
    are initialized normally for ReLU (He et al., 2015), fan-out, and the last layer's bias is 0.

    Args:
        channels: C.
        classes: K.
        stem: channels after the first convolution.
        widths: channels of each stage.
        blocks: in each stage.
        activation: of every layer.
    """

    def __init__(
        self, channels: int, classes: int, *, stem: int, widths: Sequence[int], blocks: int, activation: type[nn.Module]
    ) -> None:
        layers: list[nn.Module] = [_convolution(channels, stem, 3, 1)]
        inputs = stem
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(PreActivation(inputs, width, 2 if stage and not block else 1, activation))
                inputs = width
        head = nn.Linear(inputs, classes)
        super().__init__(*layers, nn.BatchNorm2d(inputs), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(head.bias)


class PreActivation(nn.Module):
    """A block on ``[B, C, H, W]``: shortcut + two convolutions, each after a normalization and an activation.

    Where the shape changes, the shortcut is a 1 x 1 convolution of the first activation; elsewhere it is the input itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), activation())
        second = [nn.BatchNorm2d(outputs), activation(), _convolution(outputs, outputs, 3, 1)]
        self.body = nn.Sequential(_convolution(inputs, outputs, 3, stride), *second)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        active = self.first(x)
        return (x if self.shortcut is None else self.shortcut(active)) + self.body(active)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
