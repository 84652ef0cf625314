"""InfoWGAN-GP: an InfoGAN with uniform latents, trained as a Wasserstein GAN with a gradient penalty."""

from typing import ClassVar

from torch import nn

from regbench.methods.disentanglement.adversarial import AdversarialMethod
from regbench.methods.disentanglement.latents import Uniform
from regbench.methods.method import Paper
from regbench.methods.shared.data import Data


class InfoWGAN(AdversarialMethod):
    """A generator whose images tell their continuous latents, uniform in [0, 1]: the baseline of quantized InfoGANs.

    The mutual information between latents and images is raised through the squared error of the latents that the critic's
    encoder finds. It does not learn from images by giving them back, so its ``psnr`` is low. Without its weights it is a
    Wasserstein GAN without a Lipschitz constraint: another model than the plain autoencoder.
    """

    paper: ClassVar[Paper | None] = Paper(
        "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets",
        "Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel",
        2016,
        "NeurIPS",
        "1606.03657",
    )
    off_equals: ClassVar[str | None] = None

    def build_latent(self, data: Data) -> nn.Module:
        """Uniform latents."""
        return Uniform(self.latent_count(data))
