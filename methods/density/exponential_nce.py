"""eNCE: noise-contrastive estimation with an exponential loss and normalized gradients."""

from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.density.noise_contrastive import classifier_logits
from regbench.methods.density.task import Batch, DensityMethod, Model
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.shared.data import Data


class ExponentialNCE(DensityMethod):
    """Minimizes (mean e^{-s(x)/2} + ν mean e^{s(x̃)/2}) / (1 + ν) with steps along ∇ / ‖∇‖, s as in NCE.

    In exponential families the loss is well conditioned up to its scale, which the normalized steps remove. Their length is the
    learning rate, so the rate must fall, or what is left is noise of its size.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Analyzing and Improving the Optimization Landscape of Noise-Contrastive Estimation",
        "Liu, Rosenfeld, Ravikumar, Risteski",
        2022,
        "ICLR",
        "2110.11271",
    )

    normalized_gradient: bool = hyperparameter(True, help="whether a step's length is the learning rate, or the gradient's too")

    def build_model(self, data: Data) -> nn.Module:
        """The model with its constant."""
        return self.unnormalized(data, constant=True)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The exponential loss; nothing of a normalizer is remembered but a zero."""
        data, noise = classifier_logits(model, batch)
        loss = ((-data / 2).exp().mean() + batch.ratio * (noise / 2).exp().mean()) / (1 + batch.ratio)
        return loss, loss.detach() * 0

    def turn(self, network: nn.Module, memory: dict[str, Any], weights: SimpleNamespace) -> None:
        """Divides the gradient by its norm."""
        if not self.normalized_gradient:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        # In double precision: squares of the exponentials' gradients may leave the range of single precision.
        norm = torch.stack([gradient.double().norm() for gradient in gradients]).norm().clamp_min(1e-100)
        for gradient in gradients:
            gradient.div_(norm)
