"""DP-SGD: differentially private training, by clipped gradients of single images and Gaussian noise."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from regbench.methods.method import Metrics, Paper, hyperparameter, weight
from regbench.methods.privacy.accountant import privacy_loss
from regbench.methods.privacy.task import PrivacyMethod
from regbench.methods.run import Run
from regbench.methods.shared.data import Data

# Images whose gradients are held at once.
AT_ONCE = 256
GROUPS = 32


class DPSGD(PrivacyMethod):
    """Cross-entropy by gradients that tell little of any single image.

    Each step takes every image with probability q = batch_size / N, clips its gradient to norm C, and follows
    (Σ_i g_i min(1, C/‖g_i‖) + σ C ξ) / batch_size with ξ ~ N(0, I) (Abadi et al., 2016, algorithm 1). That is
    (ε, δ)-differentially private; ``epsilon`` is recorded, from Rényi divergences (see ``accountant``). Batch normalization, in
    which images depend on one another, becomes group normalization. Differential privacy hides whether an image was there, not
    what the images of a class have in common: a competitor of ``mutual_information_defense``.

    Switched off (σ = 0) it is plain training: batches without replacement, no clipping, batch normalization.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Deep Learning with Differential Privacy",
        "Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang",
        2016,
        "CCS",
        "1607.00133",
    )

    noise_multiplier: float = weight(
        1.0,
        off=0.0,
        ge=0,
        symbol="σ",
        differentiable=False,
        may_change=False,
        help="noise of a step relative to the clipping norm",
    )
    clip_norm: float = hyperparameter(1.0, gt=0, may_change=True, help="largest norm C of an image's gradient")
    delta: float = hyperparameter(1e-5, gt=0, lt=1, help="δ at which ε is recorded; below 1 over the number of images")

    def build_model(self, data: Data) -> nn.Module:
        """The network, without batch normalization."""
        network = super().build_model(data)
        return separate(network) if self.noise_multiplier else network

    def train_epoch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, split: TensorDataset, epoch: int, run: Run
    ) -> Metrics:
        """As many steps as an epoch has batches."""
        if not self.noise_multiplier:
            return super().train_epoch(model, optimizer, split, epoch, run)
        model.train()
        network = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        x, y = run.tensors(split)[:2]
        # All workers draw the same sample and the same noise, and each takes its share of the sample.
        sampling, noise = (run.generator(use, run.device, shared=True) for use in ("sample", "noise"))
        rate, steps = self.batch_size / len(x), math.ceil(len(x) / self.batch_size)
        total = torch.zeros((), device=run.device)
        for _ in range(steps):
            taken = torch.rand(len(x), generator=sampling, device=run.device) < rate
            rows = taken.nonzero()[:, 0][run.world.rank :: run.world.size]
            sums, loss = clipped_sums(network, x[rows], y[rows], self.clip_norm)
            total += loss
            for name, parameter in network.named_parameters():
                everyone = run.gather(sums[name][None]).sum(0)
                draw = torch.randn(parameter.shape, generator=noise, device=run.device)
                parameter.grad = (everyone + self.noise_multiplier * self.clip_norm * draw) / self.batch_size
            optimizer.step()
        return {
            "train/loss": total.item() * run.world.size / (steps * self.batch_size),
            "train/epsilon": privacy_loss(min(rate, 1.0), self.noise_multiplier, epoch * steps, self.delta),
        }


def clipped_sums(network: nn.Module, x: Tensor, y: Tensor, norm: float) -> tuple[dict[str, Tensor], Tensor]:
    """Σ_i g_i min(1, C/‖g_i‖) of each parameter, g_i the gradient of image i's cross-entropy, and the sum of these losses.

    Args:
        network: whose layers treat images separately.
        x: images ``[B, C, H, W]``; B may be 0.
        y: labels ``[B]``.
        norm: C, of the gradient in all parameters together.
    """
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    sums, total = {name: torch.zeros_like(value) for name, value in parameters.items()}, torch.zeros((), device=x.device)

    def loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(network, values, image[None]), label[None])

    each = vmap(grad_and_value(loss), in_dims=(None, 0, 0), randomness="different")
    for images, labels in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
        if len(images):
            gradients, losses = each(parameters, images, labels)
            squares = torch.stack([value.flatten(1).square().sum(1) for value in gradients.values()])
            scale = (norm / squares.sum(0).sqrt().clamp(min=1e-12)).clamp(max=1)  # [B]
            for name, value in gradients.items():
                sums[name] += torch.einsum("b,b...->...", scale, value)
            total += losses.sum()
    return sums, total


def separate(network: nn.Module) -> nn.Module:
    """Replaces every batch normalization by group normalization, in place."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            groups = nn.GroupNorm(math.gcd(GROUPS, layer.num_features), layer.num_features)
            network.set_submodule(name, groups.to(layer.weight))
    return network
