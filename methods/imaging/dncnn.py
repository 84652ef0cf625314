"""A convolutional denoiser without constraints: what plug-and-play restoration usually takes."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.imaging.denoisers import Batch, TrainedDenoiser
from regbench.methods.method import Paper, hyperparameter


class ResidualDenoiser(nn.Module):
    """f(y) = y - N(y), where N has 3 x 3 convolutions with batch normalization and rectifiers in between.

    Args:
        channels: of the images.
        width: channels between.
        depth: convolutions.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.noise = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, y: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` without what is taken for noise."""
        return y - self.noise(y)


class DnCNN(TrainedDenoiser):
    """Trains a residual convolutional network by ½ ‖f(y) - x‖², mean over patches (Zhang et al., 2017).

    Nothing makes it a proximal operator, so that plug-and-play restoration with it need not converge.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising",
        "Zhang, Zuo, Chen, Meng, Zhang",
        2017,
        "IEEE Transactions on Image Processing",
        "1608.03981",
    )

    hidden_channels: int = hyperparameter(64, ge=1, help="channels of the convolutions")
    num_layers: int = hyperparameter(17, ge=2, help="convolutions")
    later_rate: float = hyperparameter(0.1, gt=0, may_change=True, help="factor on the learning rate in the second half")

    def build_network(self, channels: int, size: int) -> ResidualDenoiser:
        """Fully convolutional, whatever the size."""
        return ResidualDenoiser(channels, self.hidden_channels, self.num_layers)

    def rate(self, step: int) -> float:
        """Lower in the second half."""
        return 1.0 if 2 * step < self.steps else self.later_rate

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Half the squared error, summed over a patch."""
        found = model(batch.noisy)
        return (found - batch.clean).square().flatten(1).sum(1).mean() / 2, found

    def denoiser(self, network: ResidualDenoiser, size: int) -> Callable[[Tensor], Tensor]:
        """The network itself."""
        return torch.no_grad()(network.__call__)
