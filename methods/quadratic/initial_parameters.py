"""The parameters that learning starts from: the baseline of the quadratic track."""

from collections.abc import Iterator
from typing import ClassVar

from regbench.methods.method import Method, Metrics, Paper, Track
from regbench.methods.quadratic.task import TRACK, drawn, gap
from regbench.methods.run import Run


class InitialParameters(Method):
    """Leaves θ at 1, where every learner starts."""

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = None

    @property
    def rounds(self) -> int:
        """There is nothing to iterate."""
        return 1

    def train(self, run: Run) -> Iterator[Metrics]:
        """Judges the start."""
        problem = drawn(run)
        run.restore()
        for _ in run.rounds(self.rounds):
            found = gap(problem, problem.theta0)
            yield {"val/gap": found} | ({"test/gap": found} if run.test else {})
