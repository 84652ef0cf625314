"""Maximum likelihood without a penalty: the baseline of the sparse regression track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.sparse_regression.task import SparseRegressionMethod


class MaximumLikelihood(SparseRegressionMethod):
    """Least squares, the solution of least norm where there are many; for binary outcomes logistic regression.

    Logistic regression on rows that a plane separates has no finite solution: there ``solver_steps`` of accelerated descent
    from 0 decide.
    """

    paper: ClassVar[Paper | None] = None
