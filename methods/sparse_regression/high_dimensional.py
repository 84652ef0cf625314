"""Screening by mutual information, then SCAD: the pipeline of a thesis on high-dimensional data."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.sparse_regression.scad import Scad
from regbench.methods.sparse_regression.screened import ScreenedRegression


class HighDimensional(ScreenedRegression, Scad):
    """Keeps the s covariates of largest mutual information with the outcome, and fits them with SCAD by accelerated gradients.

    The first two parts of Yang's thesis in one: ``screening`` and ``scad`` are each by itself, ``mcp`` is the other nonconvex
    penalty, and ``tsallis_mixed_effects`` the third part, for clustered rows. Screening makes the fit cheap where p is huge;
    its s should leave room, for what it drops cannot come back.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Contributions to Robust and Efficient Methods for Analysis of High Dimensional Data", "Yang", 2025, "McGill University"
    )
