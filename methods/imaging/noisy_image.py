"""The noisy image as it is: the baseline of the imaging track."""

from typing import ClassVar

from regbench.methods.imaging.restoration import Restoration
from regbench.methods.imaging.task import TRACK
from regbench.methods.method import Metrics, Paper, Track
from regbench.methods.run import Run
from regbench.methods.training import Estimator


class NoisyImage(Estimator, Restoration):
    """Minimizes ½ ‖x - y‖² and nothing else: without a regularizer, the best estimate of the image is what was observed.

    The baseline is not a smoother because a regularizer switched off does not smooth. Of measurements it is what the loop makes
    of them with the identity in the place of a denoiser, on its way to the least-squares solution.
    """

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = None

    def fit_and_judge(self, run: Run) -> Metrics:
        """Judges the noisy images."""
        return run.judge(lambda split: self.assess(lambda noisy: noisy, split, run))
