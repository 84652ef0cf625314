"""Bicubic interpolation: what networks have to be better than."""

from typing import ClassVar

from torch.utils.data import TensorDataset

from regbench.methods.method import Metrics, Paper, Track
from regbench.methods.run import Run
from regbench.methods.super_resolution.images import enlarged, mean_psnr
from regbench.methods.super_resolution.task import TRACK
from regbench.methods.training import Estimator


class BicubicEnlarging(Estimator):
    """Enlarges by cubic convolution (Keys, 1981; a = -½). It learns nothing, and its few operations are not counted."""

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = None
    off_equals: ClassVar[str | None] = None  # it has no weights

    def fit_and_judge(self, run: Run) -> Metrics:
        """Judges the enlarged images."""

        def evaluate(split: TensorDataset) -> Metrics:
            psnr = mean_psnr(lambda low: enlarged(low, run.data.meta["scale"]), split, run)
            return {"budgeted_psnr": psnr, "psnr": psnr, "gbitops": 0.0, "choice_entropy": 0.0, "gap": 0.0}

        return run.judge(evaluate)
