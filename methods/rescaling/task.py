"""The task: train an invertible network to shrink images and enlarge them again, from 8-bit images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.imaging.task import psnr, ssim
from regbench.methods.method import Metric, Metrics, Track, hyperparameter, weight
from regbench.methods.rescaling.losses import charbonnier, guidance, latent_cross_entropy
from regbench.methods.rescaling.networks import InvertibleRescaler, quantize
from regbench.methods.run import Run
from regbench.methods.shared.bicubic import resize
from regbench.methods.shared.images import luminance, squares, unit
from regbench.methods.training import Means, StepMethod, set_rate

TRACK = Track(
    name="rescaling",
    help="images shrunken and enlarged again from 8 bits, judged by what comes back and by how usual the small ones look",
    metrics=(Metric("psnr", "max"), Metric("ssim", "max"), Metric("lr_psnr", "max")),
    data=("color_photographs", "div2k", "div2k_set5"),
    baseline="bicubic",
    smoke={"iterations": 4, "report_every": 2, "num_blocks": 1, "growth": 2, "crop": 16, "batch_size": 2, "draws": 1},
    trade_off=("psnr", "lr_psnr"),
)

Shrink = Callable[[Tensor], Tensor]
Enlarge = Callable[[Tensor], Tensor]


def judge(shrink: Shrink, enlarge: Enlarge, scale: int, split: TensorDataset, run: Run) -> Metrics:
    """Metrics of luminance, means over the images: of what is enlarged, without ``scale`` pixels at each border, and of y.

    Args:
        shrink: images ``[1, 3, H, W]`` to small ones, which are then rounded to 8 bits.
        enlarge: such small images to several large ones ``[D, 3, H, W]``, whose metrics are averaged.
        scale: s; what images have beyond a multiple of it is cut off.
        split: bytes, and sizes.
        run: where it happens.
    """
    found: dict[str, list[float]] = {"psnr": [], "ssim": [], "lr_psnr": []}
    images, sizes = run.tensors(split)
    for image, size in zip(images, sizes.tolist(), strict=True):
        height, width = (length - length % scale for length in size)
        clean = unit(image[None, :, :height, :width])
        small = quantize(shrink(clean))
        large = luminance(quantize(enlarge(small)))[:, :, scale:-scale, scale:-scale]
        target = luminance(clean)[:, :, scale:-scale, scale:-scale].expand_as(large)
        found["psnr"].append(psnr(large, target).mean().item())
        found["ssim"].append(ssim(large, target))
        found["lr_psnr"].append(psnr(luminance(small), luminance(resize(clean, 1 / scale))).item())
    return {name: sum(values) / len(values) for name, values in found.items()}


@dataclass(frozen=True)
class Batch:
    """Large images ``[B, 3, H, W]``, the bicubic small ones, and standard normal numbers for z_d and z_u' ``[B, ., h, w]``."""

    x: Tensor
    reference: Tensor
    z_d: Tensor
    z_u: Tensor


class RescalingMethod(StepMethod):
    """L = λ_fit L_LR + λ_rec L_HR + λ_ce L_CE of one invertible network, by Adam with the gradient's norm cut at 10.

    The rate is halved after each fifth of training. Judged from the 8-bit small image and fresh latents.
    """

    track: ClassVar[Track] = TRACK
    off_equals: ClassVar[str | None] = None  # an invertible autoencoder, whose small image is free

    lr_guidance_weight: float = weight(
        4.0,
        off=0.0,
        ge=0,
        symbol="λ_fit",
        differentiable=True,
        help="likeness of the small image to the bicubic; 16 for x4",
    )
    latent_cross_entropy_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="λ_ce", differentiable=True, help="size of the latent that is thrown away"
    )
    reconstruction_weight: float = hyperparameter(1.0, gt=0, may_change=True, help="λ_rec, of the error of the large image")
    scale: Literal[2, 4] = hyperparameter(2, help="s, the factor by which images are shrunken")
    gaussian_scale: float = hyperparameter(1.0, ge=0, help="g, deviation of the fresh latent in training and evaluation")
    num_blocks: int = hyperparameter(8, ge=1, help="coupling blocks of each level")
    growth: int = hyperparameter(32, ge=1, help="channels that each convolution of a dense block adds")
    block_depth: int = hyperparameter(5, ge=2, help="convolutions of a dense block")
    iterations: int = hyperparameter(500_000, ge=1, help="steps")
    report_every: int = hyperparameter(5_000, ge=1, help="steps in one round")
    crop: int = hyperparameter(144, ge=8, help="side of the squares that are trained on")
    batch_size: int = hyperparameter(16, ge=1, help="squares in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(2e-4, gt=0, may_change=True, help="of Adam, at the start")
    weight_decay: float = hyperparameter(1e-5, ge=0, may_change=True, help="of Adam, added to the gradient")
    gradient_clipping: float = hyperparameter(10.0, gt=0, may_change=True, help="largest norm of the gradient")
    draws: int = hyperparameter(5, ge=1, help="fresh latents from which each image is judged")

    @property
    def extra(self) -> int:
        """Channels of z_d."""
        return 0

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """L, and the large images that come back."""
        return self.there_and_back(model, batch, batch.z_d, weights)[:2]

    def there_and_back(self, model: Any, batch: Batch, z_d: Tensor, weights: SimpleNamespace) -> tuple[Tensor, Tensor, Tensor]:
        """L where z_d is given to the network, and the large images and the z_d that come back."""
        y, latent, found, back = model(batch.x, z_d, self.gaussian_scale * batch.z_u)
        loss = weights.lr_guidance_weight * guidance(y, batch.reference)
        loss = loss + weights.latent_cross_entropy_weight * latent_cross_entropy(latent)
        return loss + self.reconstruction_weight * charbonnier(found, batch.x), found, back

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields the mean loss and metrics after every ``report_every``."""
        network = InvertibleRescaler(self.scale, self.num_blocks, self.growth, self.block_depth, self.extra).to(run.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        model, weights = run.prepare(network), self.weight_values()
        run.restore(network=network, optimizer=optimizer)
        for number in run.rounds(self.rounds):
            means = Means()
            for step in self.steps(number):
                set_rate(optimizer, self.learning_rate * 0.5 ** (5 * (step - 1) // self.iterations), self.weight_decay)
                loss, _ = self.objective(model, self._batch(network, run), weights)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clipping)
                optimizer.step()
                means.add(loss=loss)
            yield means.metrics() | run.judge(lambda split: self.evaluate(network, split, run))

    def hidden(self, run: Run, count: int) -> Hidden:
        """The latent that is thrown away of images' upper left corners, as large as those that are trained on, at z_d = 0."""
        images = run.tensors(run.data.validation)[0]
        corners = unit(images[fixed_rows(len(images), count, run.device), :, : self.crop, : self.crop])
        z_d = corners.new_zeros(len(corners), self.extra, self.crop // self.scale, self.crop // self.scale)
        return Hidden(run.network.downscale(corners, z_d)[1], corners, None)

    def _batch(self, network: InvertibleRescaler, run: Run) -> Batch:
        """Squares at random places of random images, mirrored and turned, and numbers for both latents."""
        images, sizes = run.tensors(run.data.train)
        rows, device = run.draw(len(images), self.batch_size), run.device
        stream = run.generator("crops", device)
        free = sizes[rows] - self.crop + 1
        corner = (torch.rand(free.shape, generator=stream, device=device) * free).long()
        x = unit(squares(images, rows, corner, self.crop))
        turns = torch.rand(3, len(rows), 1, 1, 1, generator=stream, device=device) < 0.5
        for chosen, moved in zip(turns, (lambda v: v.mT, lambda v: v.flip(2), lambda v: v.flip(3)), strict=True):
            x = torch.where(chosen, moved(x), x)
        small = resize(x, 1 / self.scale)
        noise = [
            torch.randn(len(x), count, *small.shape[2:], generator=run.generator(name, device), device=device)
            for name, count in (("downscaling", self.extra), ("upscaling", network.latent))
        ]
        return Batch(x, small, *noise)

    @torch.no_grad()
    def evaluate(self, network: InvertibleRescaler, split: TensorDataset, run: Run) -> Metrics:
        """Metrics from z_d = 0 and ``draws`` fresh latents, and ``psnr_at_zero`` from the latent 0."""
        # The same numbers in each round, whatever was drawn before.
        stream = torch.Generator(run.device).manual_seed(run.numpy_seed(run.split_name(split)))

        def shrink(x: Tensor) -> Tensor:
            shape = (len(x), self.extra, *(length // self.scale for length in x.shape[2:]))
            return network.downscale(x, x.new_zeros(shape))[0]

        def enlarge(y: Tensor, draws: int = self.draws) -> Tensor:
            latents = torch.randn(draws, network.latent, *y.shape[2:], generator=stream, device=y.device)
            return torch.cat([network.upscale(y, self.gaussian_scale * latent[None])[0] for latent in latents])

        def enlarge_at_zero(y: Tensor) -> Tensor:
            return network.upscale(y, y.new_zeros(1, network.latent, *y.shape[2:]))[0]

        metrics = judge(shrink, enlarge, self.scale, split, run)
        return metrics | {"psnr_at_zero": judge(shrink, enlarge_at_zero, self.scale, split, run)["psnr"]}
