"""Networks of the discovery track: a pretrained encoder of images, a projector for contrast, and prototypes of classes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from regbench.methods.classification.transformer import VisionTransformer
from regbench.methods.discovery.losses import unsupervised_contrastive
from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.augmentation import Views, two_views
from regbench.methods.shared.data import KEPT, Data, require
from regbench.methods.training import descend

Backbone = Literal["conv", "dino_vitb16"]

# The pretraining of conv, which stands in for DINO's.
TEMPERATURE, BATCH, RATE = 0.2, 128, 3e-3
# DINO's ViT-B/16: its file, the side of its images, and the statistics of ImageNet that these are standardized by.
DINO_FOLDER, DINO_FILE, DINO_SIDE = "dino", "dino_vitbase16_pretrain.pth", 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Parts of a block, and of the network, in DINO's names and in ours.
BLOCK_NAMES = {
    "norm1": "attention.0",
    "attn.qkv": "attention.1.projections",
    "attn.proj": "attention.1.output",
    "norm2": "mlp.0",
    "mlp.fc1": "mlp.1",
    "mlp.fc2": "mlp.3",
}
OUTER_NAMES = {"cls_token": "class_token", "pos_embed": "positions", "patch_embed.proj": "patches", "norm": "head.0"}


@dataclass(frozen=True)
class Found:
    """What the network gives for N rows: cosines with prototypes ``[N, K]``, projections ``[N, P]`` before normalization."""

    logits: Tensor
    projections: Tensor


class Discoverer(nn.Module):
    """An encoder with two heads: three linear layers with GELU for contrast, and cosines with K prototypes.

    The prototypes are a linear layer without bias whose weights are normalized: a weight normalization of gain 1.

    Args:
        encoder: images to features ``[N, D]``.
        features: D.
        classes: K.
        hidden: width of the projector's hidden layers.
        projection: P.
    """

    def __init__(self, encoder: nn.Module, features: int, classes: int, hidden: int, projection: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(features, hidden, projection)
        self.prototypes = nn.Linear(features, classes, bias=False)

    def forward(self, x: Tensor) -> Found:
        """Logits and projections of images ``[N, C, H, W]``."""
        h = self.encoder(x)
        return Found(normalize(h, dim=1) @ normalize(self.prototypes.weight, dim=1).T, self.projector(h))


def projector(features: int, hidden: int, projection: int) -> nn.Sequential:
    """DINO's head without its last layer: three linear layers, weights of deviation 0.02, no bias at the start."""
    layers = nn.Sequential(
        nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, projection)
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return layers


class Standardization(nn.Module):
    """(x - mean) / deviation of each channel, as encoders expect their images.

    Args:
        mean, deviation: of each channel.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("deviation", deviation.view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, C, H, W]``, of the same shape."""
        return (x - self.mean) / self.deviation


def convolutions(x: Tensor, features: int) -> nn.Sequential:
    """Images to features ``[N, D]``: two convolutions and a linear layer; images of more than 8 pixels are halved twice.

    Args:
        features: D, which is also the width of the second convolution, and twice that of the first.
        x: the images ``[N, C, H, W]`` by whose channels' means and deviations images are standardized.
    """
    channels, height, width = x.shape[1:]
    first = 1 if max(height, width) <= 8 else 2
    # What convolutions with these strides leave of the sides.
    rows, columns = (((side - 1) // first) // 2 + 1 for side in (height, width))
    return nn.Sequential(
        Standardization(x.mean((0, 2, 3)), x.std((0, 2, 3))),
        nn.Conv2d(channels, features // 2, 3, stride=first, padding=1),
        nn.ReLU(),
        nn.Conv2d(features // 2, features, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(features * rows * columns, features),
    )


class DinoEncoder(nn.Module):
    """DINO's ViT-B/16 (Caron et al., ICCV 2021): images in [0, 1] of any size, enlarged, to class tokens ``[N, 768]``.

    Only the last of the twelve blocks learns, as in SimGCD.

    Args:
        network: the transformer, with its pretrained parameters.
    """

    width = 768

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        network.requires_grad_(False)
        network.blocks[-1].requires_grad_(True)
        self.standardization = Standardization(torch.tensor(MEAN), torch.tensor(DEVIATION))
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Features of images ``[N, C, H, W]``, one channel or three."""
        x = interpolate(x, size=(DINO_SIDE, DINO_SIDE), mode="bicubic", align_corners=False)
        return self.network(self.standardization(x))


def vision_transformer(blocks: int = 12, width: int = DinoEncoder.width, heads: int = 12) -> VisionTransformer:
    """A transformer of DINO's form on images of 224 x 224, without a classifier."""
    network = VisionTransformer(
        (3, DINO_SIDE, DINO_SIDE), 1, patch=16, width=width, heads=heads, blocks=blocks, activation=nn.GELU
    )
    network.head = nn.Sequential(nn.LayerNorm(width))
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return network


def dino_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a ViT under DINO's names, under the names that they have here."""
    renamed = {}
    for name, value in state.items():
        place, _, kind = name.rpartition(".")
        if name.startswith("blocks."):
            _, number, part = place.split(".", 2)
            renamed[f"blocks.{number}.{BLOCK_NAMES[part]}.{kind}"] = value
        else:
            renamed[f"{OUTER_NAMES[place]}.{kind}" if place else OUTER_NAMES[kind]] = value
    return renamed


def dino_encoder() -> DinoEncoder:
    """The pretrained ViT-B/16, from the file that DINO's authors publish.

    Raises:
        DataError: the file is missing or holds something else.
    """
    (path,) = require(DINO_FOLDER, DINO_FILE)
    network = vision_transformer()
    try:
        network.load_state_dict(dino_names(torch.load(path, map_location="cpu", weights_only=True)))
    except (KeyError, ValueError, RuntimeError, AttributeError, EOFError) as error:
        raise DataError(f"{path} holds no ViT-B/16 of DINO: {one_line(error)[:200]}") from None
    return DinoEncoder(network)


@lru_cache(KEPT)
def pretrained(backbone: Backbone, data: Data, views: Views, features: int, epochs: int) -> tuple[nn.Module, int]:
    """An encoder, and the length of its features; a process trains ``conv`` once, the same for every method and every run.

    Like DINO's, its pretraining sees no label: InfoNCE at a temperature of 0.2 on two views of all training images. Its seed is
    fixed, so that differences between runs are not those of what they start from; it is on the CPU, so that they are the same
    on every device. To be copied before it is trained or moved.

    Args:
        backbone: which encoder.
        data: whose training images it is trained on.
        views: of these images.
        features: D of ``conv``.
        epochs: of the pretraining of ``conv``.

    Raises:
        DataError: the file of ``dino_vitb16`` is missing or holds something else.
    """
    if backbone == "dino_vitb16":
        return dino_encoder(), DinoEncoder.width
    x = data.train.tensors[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = convolutions(x, features)
        head = nn.Sequential(nn.Linear(features, 2 * features), nn.GELU(), nn.Linear(2 * features, features // 2))
        network = nn.Sequential(encoder, head)
        generator = torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(BATCH):
                if len(rows) > 1:
                    both = two_views(x[rows], views.draw, generator)
                    descend(unsupervised_contrastive(network(both), TEMPERATURE), optimizer)
    return encoder, features
