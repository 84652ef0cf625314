"""DPM-Solver++(2M): a competitor of the sampling track."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper
from regbench.methods.sampling import solvers
from regbench.methods.sampling.solvers import Denoiser
from regbench.methods.sampling.task import SamplingMethod


class DPMSolver(SamplingMethod):
    """Extrapolates the denoised image linearly in the log-SNR from the last two levels (2M); the last step is of first order.

    x_t = (t/s) x_s + (1 - t/s) [m_s + (m_s - m_r) / (2 r₀)] with r₀ the ratio of the step before to this one, in log σ.
    """

    paper: ClassVar[Paper | None] = Paper(
        "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        "Lu, Zhou, Bao, Chen, Li, Zhu",
        2022,
        "preprint",
        "2211.01095",
    )

    def solve(self, denoiser: Denoiser, x: Tensor, levels: Tensor, weights: SimpleNamespace) -> Tensor:
        """Two steps of first order, at both ends, and 2M between them."""
        return solvers.dpm_solver(denoiser, x, levels)
