"""A photograph shrunken and enlarged again by each entry of the suite ``rescaling``.

    python benchmarks/rescaled_images.py

trains the entries with one seed and draws ``docs/methods/plots/rescaled_images.svg``: of the middle of a test image the small
image, what comes back of it from a fresh latent, and the absolute error, four times as bright; with the PSNR of its luminance.
"""

from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from rich.progress import track as progress
from torch import Tensor

from regbench.methods.imaging.task import psnr
from regbench.methods.registry import create
from regbench.methods.rescaling.networks import quantize
from regbench.methods.rescaling.task import RescalingMethod
from regbench.methods.run import Run
from regbench.methods.shared.bicubic import resize
from regbench.methods.shared.images import luminance
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "rescaled_images.svg"


def pair(method: RescalingMethod, x: Tensor) -> tuple[Tensor, Tensor]:
    """The small image of ``x`` in 8 bits, and the large one that comes back, by a network that is trained first."""
    run = Run("color_photographs")
    for _ in method.train(run):
        pass
    network, stream = run.part("network"), torch.Generator().manual_seed(0)
    side = x.shape[-1] // method.scale
    latent = method.gaussian_scale * torch.randn(1, network.latent, side, side, generator=stream)
    with torch.no_grad():
        small = quantize(network.downscale(x, x.new_zeros(1, method.extra, side, side))[0])
        return small, quantize(network.upscale(small, latent)[0])


def main() -> None:
    """Trains the networks and draws the figure."""
    torch.set_num_threads(1)
    x = Run("color_photographs").data.test.tensors[0][:1].float() / 255
    shown = {}
    for study in progress(studies(read_suite("rescaling")), description="training"):
        method = create(study.method.slug, study.fixed)
        if isinstance(method, RescalingMethod):
            shown[study.entry] = pair(method, x)
        else:
            small = quantize(resize(x, 1 / 2))
            shown[study.entry] = small, quantize(resize(small, 2))
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(2.1 * len(shown), 6.4), layout="constrained")
    for column, (entry, (small, large)) in zip(figure.subplots(3, len(shown)).T, shown.items(), strict=True):
        value = psnr(luminance(large), luminance(x)).item()
        for axes, image in zip(column, (small, large, (4 * (large - x).abs()).clamp(max=1)), strict=True):
            middle = slice(image.shape[-1] // 4, 3 * image.shape[-1] // 4)
            axes.imshow(image[0, :, middle, middle].permute(1, 2, 0).numpy(), interpolation="none")
            axes.set(xticks=[], yticks=[])
        column[0].set_title(f"{entry}\n{value:.1f} dB", fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
