"""Bicubic resizing in both directions: the baseline of the rescaling track."""

from typing import ClassVar, Literal

from regbench.methods.method import Metrics, Paper, Track, hyperparameter
from regbench.methods.rescaling.task import TRACK, judge
from regbench.methods.run import Run
from regbench.methods.shared.bicubic import resize
from regbench.methods.training import Estimator


class Bicubic(Estimator):
    """Shrinks by bicubic interpolation with antialiasing, rounds to 8 bits, and enlarges by bicubic interpolation."""

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = Paper(
        "Cubic convolution interpolation for digital image processing",
        "Keys",
        1981,
        "IEEE Transactions on Acoustics, Speech, and Signal Processing",
    )

    scale: Literal[2, 4] = hyperparameter(2, help="s, the factor by which images are shrunken")

    def fit_and_judge(self, run: Run) -> Metrics:
        """Judges interpolation."""
        s = self.scale
        return run.judge(lambda split: judge(lambda x: resize(x, 1 / s), lambda y: resize(y, s), s, split, run))
