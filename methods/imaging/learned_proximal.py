"""Learned proximal networks: denoisers that are proximal operators of a learned regularizer by construction."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from regbench.methods.imaging.denoisers import Batch, TrainedDenoiser
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.shared.proximal.matching import halving_width, proximal_matching, stage
from regbench.methods.shared.proximal.plug_and_play import by_patches
from regbench.methods.shared.proximal.potentials import ConvolutionalPotential


class LearnedProximal(TrainedDenoiser):
    """Trains f = ∇ψ with ψ convex, so that f is the proximal operator of a regularizer R, towards R = -σ² log p.

    f starts by the mean absolute error; then by proximal matching, mean_b [1 - exp(-‖f(y_b) - x_b‖² / γ²)], whose width γ is
    halved from stage to stage down to c √n for n numbers in a patch, so that f tends to the likeliest clean image rather than
    the mean one. After each step weights that must be nonnegative are cut off at 0. ADMM and proximal gradient descent with f
    converge without a bound of its Lipschitz constant. ``loss`` l1 and l2 keep to one loss with the same steps and rates:
    f then tends to the posterior's medians and mean. Images larger than patches are restored by overlapping ones, averaged.

    Without the constraint f is no proximal operator: another gradient in the same loop.
    """

    paper: ClassVar[Paper | None] = Paper(
        "What's in a Prior? Learned Proximal Networks for Inverse Problems", "Fang, Buchanan, Sulam", 2024, "ICLR", "2310.14344"
    )

    strong_convexity: float = weight(
        0.01, off=0.0, ge=0, symbol="α", differentiable=True, help="half the modulus of strong convexity of ψ"
    )
    loss: Literal["proximal_matching", "l1", "l2"] = hyperparameter(
        "proximal_matching", help="what is minimized: proximal matching after l1, or one of the others throughout"
    )
    proximal_gamma_min: float = hyperparameter(0.08, gt=0, help="c, the last width of proximal matching over √n")
    num_gamma_stages: int = hyperparameter(4, ge=1, help="widths, each half of the one before")
    pretrain_fraction: float = hyperparameter(0.5, ge=0, le=1, help="share of the steps that come before, by l1")
    later_rate: float = hyperparameter(0.1, gt=0, may_change=True, help="factor on the learning rate after that share")
    softplus_beta: float = hyperparameter(10.0, gt=0, help="β, how close the activation is to a rectifier")
    hidden_channels: int = hyperparameter(64, ge=1, help="channels of the convolutions")
    num_layers: int = hyperparameter(4, ge=1, help="convolutions; every second one halves the image")
    first_bias: bool = hyperparameter(False, help="a bias in the first convolution, as in the released network for 128 x 128")
    initial_log_weight: float = hyperparameter(-10.0, help="nonnegative weights start as exp of N(this, 0.1²)")
    constrained: bool = hyperparameter(True, help="keep these weights nonnegative; off, f is no proximal operator")

    def build_network(self, channels: int, size: int) -> ConvolutionalPotential:
        """ψ without its strongly convex part."""
        network = ConvolutionalPotential(
            channels, size, self.hidden_channels, self.num_layers, self.softplus_beta, first_bias=self.first_bias
        )
        network.start(self.initial_log_weight, 0.1)
        return network

    @property
    def pretraining(self) -> int:
        """Steps before proximal matching."""
        return round(self.pretrain_fraction * self.steps)

    def rate(self, step: int) -> float:
        """Lower after the first share of the steps."""
        return 1.0 if step < self.pretraining else self.later_rate

    def width(self, step: int, size: int) -> float:
        """γ of a step, from 0, after pretraining, for samples of that many numbers."""
        stages = self.num_gamma_stages
        current = stage(step - self.pretraining, self.steps - self.pretraining, stages)
        return halving_width(current, stages, self.proximal_gamma_min * size**0.5)

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The loss of the step's stage."""
        found = model(batch.noisy, weights.strong_convexity)
        if self.loss == "l2":
            return mse_loss(found, batch.clean), found
        if self.loss == "l1" or batch.step < self.pretraining:
            return l1_loss(found, batch.clean), found
        return proximal_matching(found, batch.clean, self.width(batch.step, batch.clean[0].numel())), found

    def project(self, network: ConvolutionalPotential) -> None:
        """Keeps ψ convex."""
        if self.constrained:
            network.project()

    def denoiser(self, network: ConvolutionalPotential, size: int) -> Callable[[Tensor], Tensor]:
        """f, by patches where images are larger than these."""

        def denoise(images: Tensor) -> Tensor:
            f = partial(self._prox, network)
            whole = tuple(images.shape[2:]) == (size, size)
            return f(images) if whole else by_patches(f, images, size, max(1, size // 2))

        return denoise

    @torch.no_grad()
    def _prox(self, network: ConvolutionalPotential, y: Tensor) -> Tensor:
        return network(y, self.strong_convexity)
