"""The sampling task: from noise to images with few evaluations of a diffusion model, judged against its exact flow."""

from abc import abstractmethod
from functools import lru_cache
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.generative.features import feature_network
from regbench.methods.generative.metrics import frechet_distance, gaussian_frechet
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.sampling.denoisers import denoiser_of
from regbench.methods.sampling.mixtures import GaussianMixture
from regbench.methods.sampling.solvers import Denoiser, Grid, heun, noise_levels
from regbench.methods.shared.data import Data
from regbench.methods.training import Estimator

TRACK = Track(
    name="sampling",
    help="samples of a diffusion model by few evaluations of it, judged by where its exact flow ends",
    metrics=(Metric("rmse", "min", needs="reference_steps"), Metric("frechet", "min")),
    data=("digit_mixture", "digit_images", "cifar10_images"),
    baseline="ddim",
    smoke={"samples": 80, "reference_steps": 20},
    iterative=False,
)

# Noise levels between which EDM samples.
LARGEST, SMALLEST = 80.0, 0.002
# Images that are sampled at once.
BATCH = 1000


class SamplingMethod(Estimator):
    """Follows the flow of a diffusion model from noise to images along a grid of noise levels.

    Nothing is trained: the model is exact (a Gaussian mixture), a small network that is trained once, the same for all
    methods and runs, or a checkpoint. A run's seed draws the noise. ``rmse`` is the distance of the images to where the same
    noise ends on a fine grid of Heun's method, root mean square over pixels; ``frechet`` the distance of their distribution
    to the mixture's, by its exact moments of pixels, or to a split's images, in the features of a classifier; ``contrast``
    the root mean square of pixels.
    """

    track: ClassVar[Track] = TRACK

    num_function_evaluations: int = hyperparameter(10, ge=3, help="calls of the model, the last denoising among them")
    skip_type: Grid = hyperparameter("logSNR", help="grid of noise levels")
    denoise_to_zero: bool = hyperparameter(True, help="end with the model's denoised image at the last level")
    samples: int = hyperparameter(1000, ge=2, help="images that are sampled and judged")
    reference_steps: int = hyperparameter(400, ge=0, help="steps of the reference, two calls each; 0: there is none, nor rmse")
    checkpoint: str | None = hyperparameter(
        None, help="file in REGBENCH_DATA/edm that holds the model; None: a mixture's own, or a network trained here"
    )

    @abstractmethod
    def solve(self, denoiser: Denoiser, x: Tensor, levels: Tensor, weights: SimpleNamespace) -> Tensor:
        """Follows the flow from the first level to the last, with one call of the model a step.

        Args:
            denoiser: the model.
            x: at the first level ``[B, C, H, W]``, float64.
            levels: noise levels ``[N + 1]``, falling, float64.
            weights: the method's weights as attributes.
        """

    def fit_and_judge(self, run: Run) -> Metrics:
        """Samples for each split from noise of its own."""
        denoiser = denoiser_of(run.data, self.checkpoint, run.device)

        def evaluate(split: TensorDataset) -> Metrics:
            seed = run.numpy_seed(f"noise {run.split_name(split)}")
            images = self.sample(denoiser, starts(run.data, seed, self.samples, run.device))
            found = {"frechet": frechet(denoiser, images, run.data, split, run.device)}
            found["contrast"] = images.square().mean().sqrt().item()
            if self.reference_steps:
                settings = (self.checkpoint, seed, self.samples, self.reference_steps, self.denoise_to_zero)
                target = reference(run.data, *settings, run.device)
                found["rmse"] = (images - target).square().mean().sqrt().item()
            return found

        return run.judge(evaluate)

    def sample(self, denoiser: Denoiser, x: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` of noise at the first level."""
        steps = self.num_function_evaluations - self.denoise_to_zero
        levels = noise_levels(self.skip_type, steps, LARGEST, SMALLEST).to(x.device)
        weights = self.weight_values()
        with torch.no_grad():
            ends = [self.solve(denoiser, part, levels, weights) for part in x.split(BATCH)]
            return torch.cat([denoiser(end, levels[-1]) if self.denoise_to_zero else end for end in ends])


def starts(data: Data, seed: int, count: int, device: torch.device) -> Tensor:
    """Images of pure noise at the first level ``[N, C, H, W]``, float64, the same ones on every device."""
    noise = torch.randn(count, *data.meta["shape"], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (LARGEST * noise).to(device)


# All trials of a study ask for the same two, and all methods for those of the same seeds.
@lru_cache(64)
def reference(
    data: Data, checkpoint: str | None, seed: int, count: int, steps: int, denoise_to_zero: bool, device: torch.device
) -> Tensor:
    """Where the flow takes that noise by Heun's method on EDM's grid, ``[N, C, H, W]``, float64."""
    denoiser, levels = denoiser_of(data, checkpoint, device), noise_levels("edm", steps, LARGEST, SMALLEST).to(device)
    with torch.no_grad():
        ends = [heun(denoiser, part, levels) for part in starts(data, seed, count, device).split(BATCH)]
        return torch.cat([denoiser(end, levels[-1]) if denoise_to_zero else end for end in ends])


def frechet(denoiser: Denoiser, images: Tensor, data: Data, split: TensorDataset, device: torch.device) -> float:
    """The Fréchet distance of images to what the model models; see ``SamplingMethod``."""
    if isinstance(denoiser, GaussianMixture):
        pixels = images.flatten(1).cpu().numpy()
        mean, covariance = (moment.numpy() for moment in denoiser.moments())
        return gaussian_frechet(pixels.mean(0), np.cov(pixels, rowvar=False), mean, covariance)
    network = feature_network(data, device)
    return frechet_distance(network.features(images.float()), network.features(split.tensors[0]))
