"""Residual networks for small images (He et al., CVPR 2016): a 3 x 3 stem without pooling, four stages, global averaging."""

from collections.abc import Sequence

from torch import Tensor, nn

WIDTH = 64


class ResNet(nn.Module):
    """Images ``[B, C, H, W]`` to logits ``[B, K]``; ``features`` alone gives what the last layer sees, ``[B, F]``.

    Convolutions are initialized uniformly for ReLU (He et al., 2015), fan-in.

    Args:
        channels: C.
        classes: K.
        blocks: residual blocks in each stage: (1, 1, 1, 1) is ResNet-10, (2, 2, 2, 2) 18, (3, 4, 6, 3)
            34, and with bottlenecks 50.
        bottleneck: whether a block squeezes its channels to a quarter for its 3 x 3 convolution, or has two of these.
        activation: of every layer.

    Attributes:
        width: F, the number of features.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        blocks: Sequence[int],
        *,
        bottleneck: bool = False,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), activation()]
        inputs = WIDTH
        for stage, count in enumerate(blocks):
            outputs = WIDTH * 2**stage * (4 if bottleneck else 1)
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Residual(inputs, outputs, stride, bottleneck=bottleneck, activation=activation))
                inputs = outputs
        self.width = inputs
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]``."""
        return self.head(self.features(x))


class Residual(nn.Module):
    """A block on ``[B, C, H, W]``: activation(shortcut(x) + convolutions(x)), each convolution batch-normalized."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, bottleneck: bool, activation: type[nn.Module]) -> None:
        super().__init__()
        inner = outputs // 4 if bottleneck else outputs
        # Kernel, input channels, output channels, stride of each convolution.
        plan = (
            [(1, inputs, inner, 1), (3, inner, inner, stride), (1, inner, outputs, 1)]
            if bottleneck
            else [(3, inputs, inner, stride), (3, inner, outputs, 1)]
        )
        layers: list[nn.Module] = []
        for kernel, before, after, step in plan:
            layers += [_convolution(before, after, kernel, step), activation()]
        self.body = nn.Sequential(*layers[:-1])
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        return self.activation(self.shortcut(x) + self.body(x))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )
