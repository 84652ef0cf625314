"""Screening before a fit: the covariates of largest mutual information with the outcome are kept."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Literal

import torch

from regbench.methods.method import hyperparameter, weight
from regbench.methods.sparse_regression.bandwidths import Bandwidth
from regbench.methods.sparse_regression.mutual_information import Estimator, mutual_information
from regbench.methods.sparse_regression.task import Design, Fit, SparseRegressionMethod


class ScreenedRegression(SparseRegressionMethod):
    """Fits the s covariates of largest estimated mutual information with the outcome, as the next class does; others are 0.

    I(x_j; y) = ∬ f log(f(x, y) / f(x) f(y)) is estimated for each covariate by itself (equations 1 to 4). Without a limit s
    all covariates are kept and none is estimated.
    """

    num_screened: int | None = weight(
        50, off=None, ge=1, symbol="s", differentiable=False, help="covariates kept by screening; None: all"
    )
    mi_estimator: Literal["by_outcome"] | Estimator = hyperparameter(
        "by_outcome",
        help="mutual information: kde (kernel densities), binning (histogram), knn (neighbours), pearson (Gaussian), or "
        "by_outcome (kde where it is continuous, binning where it is binary)",
    )
    mi_bandwidth: Bandwidth = hyperparameter(
        "silverman", help="rule for the width of kernels: silverman, scott or isj (improved Sheather-Jones)"
    )
    bandwidth_multiplier: float = hyperparameter(1.0, gt=0, help="factor of that width")
    mi_grid: int = hyperparameter(300, ge=16, help="points on each axis of the kernel estimate's grid")

    def fit(self, design: Design, weights: SimpleNamespace) -> Fit:
        """Screens, then fits what is kept. Among the kept covariates the fit ranks, among the others the mutual information."""
        if weights.num_screened is None:
            return super().fit(design, weights)
        estimator = self.mi_estimator
        if estimator == "by_outcome":
            estimator = "binning" if design.outcome == "binary" else "kde"
        information = mutual_information(
            design.x[:, 1:],
            design.y,
            design.outcome,
            estimator,
            bandwidth=self.mi_bandwidth,
            multiplier=self.bandwidth_multiplier,
            grid=self.mi_grid,
        )
        kept = information.topk(min(weights.num_screened, len(information))).indices.sort().values
        found = super().fit(design.restrict(kept), weights)
        coefficients = torch.zeros_like(design.x[0])
        coefficients[0], coefficients[1 + kept] = found.coefficients[0], found.coefficients[1:]
        selected = torch.zeros_like(information, dtype=torch.bool)
        selected[kept] = found.selected
        scores = self.rank(information, kept, found)
        return replace(found, coefficients=coefficients, selected=selected, scores=scores)

    def rank(self, information: torch.Tensor, kept: torch.Tensor, found: Fit) -> torch.Tensor:
        """Scores of all covariates ``[p]``: selected ones by the fit's score, above the others by mutual information."""
        scores = information / (1 + information) - 1
        chosen = kept[found.selected]
        scores[chosen] = found.scores[found.selected]
        return scores
