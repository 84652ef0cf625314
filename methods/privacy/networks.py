"""The networks of the privacy track: the classifiers that are attacked, and what the attacker trains."""

import math
from typing import Literal

from torch import Tensor, nn

Architecture = Literal["mlp", "cnn", "vgg16_bn"]
Shape = tuple[int, ...]

MLP_WIDTH = 128
CNN_WIDTH = 128
# Channels of the attacker's convolutional networks where they are widest in space.
DECODER_WIDTH, GAN_WIDTH = 128, 64
# Widths of VGG-16's convolutions (Simonyan and Zisserman, ICLR 2015), 0 for pooling.
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


class Classifier(nn.Module):
    """Images ``[B, C, H, W]`` to logits ``[B, K]``: features, then a linear layer.

    Attributes:
        width: number of features F.
    """

    def __init__(self, architecture: Architecture, shape: Shape, classes: int) -> None:
        super().__init__()
        self.features, self.width = features(architecture, shape, classes)
        self.head = nn.Linear(self.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(x))


def features(architecture: Architecture, shape: Shape, classes: int) -> tuple[nn.Module, int]:
    """What maps images to features ``[B, F]``, and F.

    One hidden layer; the four blocks of the network for FaceScrub of the defense's released code, followed by a layer of 5 K
    units; or VGG-16's convolutions with batch normalization.
    """
    channels = shape[0]
    if architecture == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), MLP_WIDTH), nn.ReLU()), MLP_WIDTH
    layers: list[nn.Module] = []
    if architecture == "cnn":
        for width in (CNN_WIDTH, 2 * CNN_WIDTH, 4 * CNN_WIDTH, 8 * CNN_WIDTH):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.MaxPool2d(2), nn.ReLU()]
            channels = width
        flat = channels * math.prod(side // 16 for side in shape[1:])
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 5 * classes), nn.Dropout(0.5)), 5 * classes
    for width in VGG16:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten()), channels * math.prod(side // 32 for side in shape[1:])


def decoder(architecture: Architecture, inputs: int, shape: Shape) -> nn.Module:
    """Answers ``[B, K]`` to images ``[B, C, H, W]`` in [0, 1]: what a black-box attacker trains."""
    if architecture == "mlp":
        return _mlp(inputs, (128,), shape)
    doublings = _doublings(shape)
    channels = DECODER_WIDTH * 2 ** (doublings - 1)
    layers: list[nn.Module] = [nn.Unflatten(1, (inputs, 1, 1)), nn.ConvTranspose2d(inputs, channels, 4)]
    for _ in range(doublings - 1):
        layers += [nn.BatchNorm2d(channels), nn.Tanh(), nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1)]
        channels //= 2
    layers += [nn.BatchNorm2d(channels), nn.Tanh(), nn.ConvTranspose2d(channels, shape[0], 4, stride=2, padding=1)]
    return nn.Sequential(*layers, Crop(shape), nn.Sigmoid())


def generator(architecture: Architecture, latent: int, shape: Shape) -> nn.Module:
    """Latent vectors ``[B, Z]`` to images ``[B, C, H, W]`` in [0, 1]."""
    if architecture == "mlp":
        return _mlp(latent, (128, 128), shape)
    doublings = _doublings(shape)
    channels = GAN_WIDTH * 2 ** (doublings - 1)
    layers: list[nn.Module] = [
        nn.Linear(latent, channels * 4 * 4, bias=False),
        nn.BatchNorm1d(channels * 4 * 4),
        nn.ReLU(),
        nn.Unflatten(1, (channels, 4, 4)),
    ]
    for _ in range(doublings - 1):
        up = nn.ConvTranspose2d(channels, channels // 2, 5, stride=2, padding=2, output_padding=1, bias=False)
        channels //= 2
        layers += [up, nn.BatchNorm2d(channels), nn.ReLU()]
    layers.append(nn.ConvTranspose2d(channels, shape[0], 5, stride=2, padding=2, output_padding=1))
    return nn.Sequential(*layers, Crop(shape), nn.Sigmoid())


def critic(architecture: Architecture, shape: Shape) -> nn.Module:
    """Images ``[B, C, H, W]`` to realness ``[B, 1]``; no layer mixes images."""
    if architecture == "mlp":
        width = math.prod(shape)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(width, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1)
        )
    layers: list[nn.Module] = []
    before, side = shape[0], shape[1]
    for step in range(_doublings(shape)):
        width = GAN_WIDTH * 2**step
        layers.append(nn.Conv2d(before, width, 5, stride=2, padding=2))
        layers += [nn.InstanceNorm2d(width, affine=True)] if step else []
        layers.append(nn.LeakyReLU(0.2))
        before, side = width, -(-side // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 1))


class Crop(nn.Module):
    """The middle of images, of a given shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.height, self.width = shape[1:]

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` of larger ones."""
        top, left = (x.shape[2] - self.height) // 2, (x.shape[3] - self.width) // 2
        return x[:, :, top : top + self.height, left : left + self.width]


def _mlp(inputs: int, hidden: tuple[int, ...], shape: Shape) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, math.prod(shape)), nn.Sigmoid(), nn.Unflatten(1, shape))


def _doublings(shape: Shape) -> int:
    """How often 4 x 4 pixels are doubled until they cover an image."""
    return math.ceil(math.log2(max(shape[1:]) / 4))
