"""Plain regression: the baseline of its track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.regression.task import RegressionMethod


class MeanSquaredError(RegressionMethod):
    """Minimizes mean (ŷ - y)²: the maximum likelihood of a Gaussian of fixed variance, and nothing is compressed."""

    paper: ClassVar[Paper | None] = None
