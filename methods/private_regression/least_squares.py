"""Least squares: the baseline of the private regression track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.private_regression.task import PrivateRegressionMethod


class LeastSquares(PrivateRegressionMethod):
    """Minimizes the mean squared error; only the noise on what is released protects, as in output perturbation.

    Each method of the track is compared with it. A larger ``output_noise_std`` is the plain way to more privacy.
    """

    paper: ClassVar[Paper | None] = None
