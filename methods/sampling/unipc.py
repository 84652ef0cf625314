"""UniPC: a competitor of the sampling track."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.method import Paper, hyperparameter
from regbench.methods.sampling import solvers
from regbench.methods.sampling.solvers import Denoiser, Variant
from regbench.methods.sampling.task import SamplingMethod


class UniPC(SamplingMethod):
    """Predicts in second order, calls the model there, and corrects by its output (UniPC-2, data prediction).

    The corrector solves two conditions on the coefficients of differences of m to the last two levels and the new one; the
    output at the prediction also stands for that at the corrected point. The last step predicts only, in first order.
    """

    paper: ClassVar[Paper | None] = Paper(
        "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
        "Zhao, Bai, Rao, Zhou, Lu",
        2023,
        "NeurIPS",
        "2302.04867",
    )

    variant: Variant = hyperparameter("bh2", help="B(h): h itself (bh1) or e^h - 1 (bh2)")

    def solve(self, denoiser: Denoiser, x: Tensor, levels: Tensor, weights: SimpleNamespace) -> Tensor:
        """Predicts and corrects."""
        return solvers.unipc(denoiser, x, levels, self.variant)
