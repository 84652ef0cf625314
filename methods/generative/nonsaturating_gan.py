"""The ordinary GAN with the non-saturating generator loss."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from regbench.methods.generative.networks import Discriminator
from regbench.methods.generative.task import Codes, GenerativeMethod, Step, embed
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.shared.data import Data


class NonSaturatingGAN(GenerativeMethod):
    """L_D = softplus(-D(real)) + softplus(D(fake)), L_G = softplus(-D(fake)), with one deterministic logit (section 3)."""

    paper: ClassVar[Paper | None] = Paper("Generative Adversarial Networks", "Goodfellow et al.", 2014, "NeurIPS", "1406.2661")

    code_dim: int = hyperparameter(1, ge=1, le=1, help="one logit")

    def build_discriminator(self, data: Data) -> Discriminator:
        """A discriminator with one deterministic output."""
        return Discriminator(self.architecture, data.meta["shape"], 1, stochastic=False)

    def discriminator_objective(
        self, discriminator: Codes, real: Tensor, fake: Tensor, step: Step, weights: SimpleNamespace
    ) -> tuple[Tensor, Tensor]:
        """The binary cross-entropy of real against generated images."""
        t, f = embed(discriminator, {"real": real, "fake": fake}, step, 1)
        return softplus(-t).mean() + softplus(f).mean(), t

    def generator_objective(self, fake_codes: Tensor, step: Step, weights: SimpleNamespace) -> Tensor:
        """Minus the log-probability that generated images are real."""
        return softplus(-fake_codes).mean()
