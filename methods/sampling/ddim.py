"""DDIM: the baseline of the sampling track."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper
from regbench.methods.sampling import solvers
from regbench.methods.sampling.solvers import Denoiser
from regbench.methods.sampling.task import SamplingMethod


class DDIM(SamplingMethod):
    """Holds the denoised image from one noise level to the next: x_t = (t/s) x_s + (1 - t/s) m(x_s, s), without noise (η = 0).

    Euler's method in 1/σ; every second-order sampler of the track is this where its correction is off.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Denoising Diffusion Implicit Models", "Song, Meng, Ermon", 2021, "ICLR", "2010.02502"
    )

    def solve(self, denoiser: Denoiser, x: Tensor, levels: Tensor, weights: SimpleNamespace) -> Tensor:
        """One step of first order after the other."""
        return solvers.ddim(denoiser, x, levels)
