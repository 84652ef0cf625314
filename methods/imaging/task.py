"""The imaging task: restore images from noisy ones or from measurements, and judge them against what is clean."""

from collections.abc import Callable

import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.method import Metric, Metrics, Track
from regbench.methods.run import Run

TRACK = Track(
    name="imaging",
    help="a clean image from a noisy one or from measurements, judged by how close it comes to the true one",
    metrics=(Metric("psnr", "max"), Metric("ssim", "max")),
    data=(
        *("natural_images", "blurred_digits", "sensed_digits", "projected_digits", "bsd_images", "kodak_96", "kodak_256"),
        *("noisy_mnist", "blurred_celeba", "projected_mayo", "sensed_mayo"),
    ),
    baseline="noisy_image",
    smoke={"learner": "maid", "budget": 60, "report_every": 30, "filters": 3, "filter_size": 3}
    | {"steps": 6, "steps_per_round": 3, "batch_size": 4, "hidden_channels": 3, "num_layers": 3},
    iterative=False,
)

# Pixels that are restored at once, which bounds the memory of a method with many filters.
PIXELS = 2**18


def judge(denoise: Callable[[Tensor], Tensor], split: TensorDataset, run: Run) -> Metrics:
    """Metrics of what becomes of what a split observed, means over the images.

    Args:
        denoise: maps noisy images ``[B, C, H, W]``, or measurements ``[B, ...]``, to restored ones.
        split: what was observed, and clean images.
        run: where it happens.
    """
    noisy, clean = run.tensors(split)
    restored = torch.cat([denoise(part) for part in noisy.split(max(1, PIXELS // clean[0].numel()))])
    return {"psnr": psnr(restored, clean).mean().item(), "ssim": ssim(restored, clean)}


def psnr(restored: Tensor, clean: Tensor) -> Tensor:
    """Peak signal-to-noise ratio 10 log10(1 / MSE) in dB of images ``[N, C, H, W]`` whose values range over [0, 1]; ``[N]``."""
    return -10 * (restored.double() - clean.double()).square().flatten(1).mean(1).log10()


def ssim(restored: Tensor, clean: Tensor) -> float:
    """Mean structural similarity of images ``[N, C, H, W]`` and channels, in [-1, 1], with the window of Wang et al. (2004)."""
    pairs = zip(restored.double().cpu().numpy(), clean.double().cpu().numpy(), strict=True)
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 0}
    values = [float(structural_similarity(a, b, **options)) for a, b in pairs]
    return sum(values) / len(values)
