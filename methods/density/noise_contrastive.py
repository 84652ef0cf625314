"""Noise-contrastive estimation: a density learned by telling data from noise."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import softplus

from regbench.methods.density.networks import Unnormalized
from regbench.methods.density.task import Batch, DensityMethod, Model, split_pass
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.shared.data import Data


class NoiseContrastive(DensityMethod):
    """Minimizes (mean softplus(-s(x)) + ν mean softplus(s(x̃))) / (1 + ν), s = h - c - log q - log ν, ν = B₂ / B₁.

    The constant c is learned with θ, and is log Z where the loss is least. Where data and noise differ much, the loss is nearly
    flat around its minimum.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Noise-contrastive estimation: A new estimation principle for unnormalized statistical models",
        "Gutmann, Hyvärinen",
        2010,
        "AISTATS",
    )

    normalizer: Literal["learned", "known"] = hyperparameter(
        "learned", help="c: learned, or the known log Z, for gaussian_mean only"
    )

    @model_validator(mode="after")
    def _normalizer_is_known(self) -> Self:
        if self.normalizer == "known" and self.energy != "gaussian_mean":
            raise ValueError(f"the normalizer of {self.energy} is not known: set normalizer to learned")
        return self

    def build_model(self, data: Data) -> nn.Module:
        """The model with its constant, or normalized."""
        model = self.unnormalized(data, constant=self.normalizer == "learned")
        return model if self.normalizer == "learned" else Normalized(model)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The classifier's mean cross-entropy; nothing of a normalizer is remembered but a zero."""
        data, noise = classifier_logits(model, batch)
        loss = (softplus(-data).mean() + batch.ratio * softplus(noise).mean()) / (1 + batch.ratio)
        return loss, loss.detach() * 0


class Normalized(nn.Module):
    """A model less its known normalizer."""

    def __init__(self, model: Unnormalized) -> None:
        super().__init__()
        self.model = model

    def mean(self) -> Tensor:
        """The estimate of a mean ``[D]``."""
        return self.model.mean()

    def forward(self, x: Tensor, log_noise: Tensor) -> Tensor:
        """Log p ``[N]``."""
        return self.model(x, log_noise) - self.model.log_normalizer()


def classifier_logits(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """S = h - c - log q - log ν of the data ``[B₁]`` and of the noise ``[B₂]``."""
    h_x, log_w = split_pass(model, batch)
    shift = Tensor.log(h_x.new_tensor(float(batch.ratio)))
    return h_x - batch.log_noise_x - shift, log_w - shift
