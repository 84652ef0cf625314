"""Invertible rescaling with two latents: one that shrinking draws, one that enlarging draws."""

from types import SimpleNamespace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.method import Metrics, Paper, hyperparameter, is_off, weight
from regbench.methods.rescaling.networks import InvertibleRescaler
from regbench.methods.rescaling.task import Batch, RescalingMethod
from regbench.methods.run import Run
from regbench.methods.shared.images import unit


class DualLatentRescaling(RescalingMethod):
    """IRN whose network is also given a latent z_d when it shrinks: (y, z_u) = f(x, z_d), as many images y as there are ways.

    σ_d z_d, z_d ~ N(0, I), are c_d channels after the last Haar squeeze; z_u has as many more. z_d is fresh in each step of
    training and 0 when judged. With ``latent_cycle_weight`` enlarging is also to give σ_d z_d back. ``lr_spread`` is the
    deviation of y over draws of z_d, root mean square over pixels.

    A reconstruction: of the paper abstract and introduction could be read and no code is public, so that how the second latent
    enters, its size, scale and value in evaluation, and the cycle are guesses from those; all else is IRN as released.

    Without the second latent it is IRN. σ_d = 0 with channels is IRN with as much more capacity.
    """

    off_equals: ClassVar[str | None] = "irn"
    paper: ClassVar[Paper | None] = Paper(
        "Enhancing Image Rescaling using Dual Latent Variables in Invertible Neural Network",
        "Zhang, Pan, Zhou, Kuo",
        2022,
        "ACM Multimedia",
        "2207.11844",
    )

    downscaling_latent_scale: float = weight(
        1.0, off=0.0, ge=0, symbol="σ_d", differentiable=True, help="standard deviation of the latent of shrinking"
    )
    latent_cycle_weight: float = weight(
        0.0, off=0.0, ge=0, symbol="λ_cyc", differentiable=True, help="that latent is to come back when enlarging"
    )
    downscaling_latent_channels: int = hyperparameter(3, ge=0, help="c_d, channels of the latent of shrinking")

    @property
    def extra(self) -> int:
        """c_d."""
        return self.downscaling_latent_channels

    def baseline(self) -> Self:
        """No weights and no channels."""
        return super().baseline().replace(downscaling_latent_channels=0)

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """IRN's with z_d, and the cycle; without a weight that costs nothing."""
        z_d = weights.downscaling_latent_scale * batch.z_d
        loss, found, back = self.there_and_back(model, batch, z_d, weights)
        if not is_off(weights.latent_cycle_weight):
            loss = loss + weights.latent_cycle_weight * (back - z_d).square().flatten(1).sum(1).mean()
        return loss, found

    @torch.no_grad()
    def evaluate(self, network: InvertibleRescaler, split: TensorDataset, run: Run) -> Metrics:
        """IRN's metrics, and the spread of the first image's y over z_d."""
        metrics = super().evaluate(network, split, run)
        if not self.extra:
            return metrics
        images, sizes = run.tensors(split)
        height, width = (length - length % self.scale for length in sizes[0].tolist())
        x = unit(images[:1, :, :height, :width]).expand(8, -1, -1, -1)
        stream = torch.Generator(run.device).manual_seed(run.numpy_seed("spread"))
        shape = (len(x), self.extra, height // self.scale, width // self.scale)
        z_d = torch.randn(shape, generator=stream, device=run.device)
        y = network.downscale(x, self.downscaling_latent_scale * z_d)[0]
        return metrics | {"lr_spread": y.var(0).mean().sqrt().item()}
