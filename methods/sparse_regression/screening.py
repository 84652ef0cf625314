"""Mutual-information screening (fastHDMI), and nothing after it but a plain fit."""

from typing import ClassVar

import torch

from regbench.methods.method import Paper
from regbench.methods.sparse_regression.screened import ScreenedRegression
from regbench.methods.sparse_regression.task import Fit


class Screening(ScreenedRegression):
    """Keeps the s covariates of largest mutual information with the outcome, and fits them by maximum likelihood.

    Mutual information sees any dependence, where correlation sees the linear one. Estimators (Yang et al.; equations 1 to 4):
    ``kde``, kernel densities on a grid of 300 × 300 by fast Fourier transforms, or given each class on 500 points;
    ``binning``, histograms with a penalized number of bins; ``knn``, k nearest neighbours, as scikit-learn has it, exactly;
    ``pearson``, -½ log(1 - ρ²).

    The released kernel estimator computes bandwidths and then uses 1, and for binary outcomes takes each class density as
    constant; here bandwidths are used and densities evaluated. Covariates are ranked by mutual information.
    """

    paper: ClassVar[Paper | None] = Paper(
        "fastHDMI: Fast Mutual Information Estimation for High-Dimensional Data",
        "Yang, Asgharian, Bhagwat, Poline, Greenwood",
        2024,
        "arXiv",
        "2410.10082",
    )

    def rank(self, information: torch.Tensor, kept: torch.Tensor, found: Fit) -> torch.Tensor:
        """Mutual information ``[p]``."""
        return information
