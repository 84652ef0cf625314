"""A Wasserstein GAN with a vector-valued discriminator: the baseline of the generative track."""

from typing import ClassVar

from regbench.methods.generative.task import GenerativeMethod
from regbench.methods.method import Paper


class WassersteinGAN(GenerativeMethod):
    """L_D = mean D(fake) - mean D(real), L_G = -mean D(fake), over batch and code coordinates; no further regularizer.

    The discriminator is Lipschitz by spectral normalization and has the stochastic head of MaEM-GAN, whose baseline ("MaF",
    eq. 7) this is.
    """

    paper: ClassVar[Paper | None] = Paper("Wasserstein GAN", "Arjovsky, Chintala, Bottou", 2017, "ICML", "1701.07875")
