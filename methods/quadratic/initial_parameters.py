"""The parameters that learning starts from: the baseline of the quadratic track."""

from typing import ClassVar

from regbench.methods.method import Metrics, Paper, Track
from regbench.methods.quadratic.task import TRACK, drawn, gap
from regbench.methods.run import Run
from regbench.methods.training import Estimator


class InitialParameters(Estimator):
    """Leaves θ at 1, where every learner starts."""

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = None

    def fit_and_judge(self, run: Run) -> Metrics:
        """Judges the start."""
        problem = drawn(run)
        return run.judge(lambda split: {"gap": gap(problem, problem.theta0)})
