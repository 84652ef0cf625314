"""The noisy image as it is: the baseline of the imaging track."""

from collections.abc import Iterator
from typing import ClassVar

from regbench.methods.imaging.task import TRACK, judge
from regbench.methods.method import Method, Metrics, Paper, Track
from regbench.methods.run import Run


class NoisyImage(Method):
    """Minimizes ½ ‖x - y‖² and nothing else: without a regularizer, the best estimate of the image is what was observed.

    The baseline is not a smoother because a regularizer switched off does not smooth.
    """

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = None

    @property
    def rounds(self) -> int:
        """There is nothing to iterate."""
        return 1

    def train(self, run: Run) -> Iterator[Metrics]:
        """Judges the noisy images."""
        run.restore()
        splits = {"val": run.data.validation} | ({"test": run.data.test} if run.test else {})
        for _ in run.rounds(self.rounds):
            yield {
                f"{split}/{name}": value
                for split, pairs in splits.items()
                for name, value in judge(lambda noisy: noisy, pairs, run).items()
            }
