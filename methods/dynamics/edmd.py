"""Extended dynamic mode decomposition: a linear operator on a dictionary of functions of the state."""

import itertools
from typing import ClassVar, Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from regbench.methods.dynamics.linear import LinearForecast, leading_directions
from regbench.methods.dynamics.metrics import Map
from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.run import Run


class EDMD(LinearForecast):
    """min_K mean ‖ψ_{t+1} - ψ_t K‖² + r ‖K‖², ψ a dictionary of functions of the state, which holds 1 and z = x V_r themselves.

    ``rbf``: thin plate splines ‖z - c‖² log ‖z - c‖ around k-means centres; ``polynomial``: monomials. Forecasts advance ψ and
    read the state off it. As in DMD, V_r are the leading right singular vectors of the training states.
    """

    paper: ClassVar[Paper | None] = Paper(
        "A Data-Driven Approximation of the Koopman Operator: Extending Dynamic Mode Decomposition",
        "Williams, Kevrekidis, Rowley",
        2015,
        "Journal of Nonlinear Science",
        "1408.4408",
    )

    tikhonov_weight: float = weight(
        1e-6, off=0.0, ge=0, symbol="r", differentiable=False, help="ridge of the regression, relative to the mean of squares"
    )
    dictionary: Literal["rbf", "polynomial"] = hyperparameter("rbf", help="rbf (thin plate splines) or polynomial")
    rank: int = hyperparameter(10, ge=1, help="largest number r of directions of the state")
    centers: int = hyperparameter(50, ge=1, help="number of splines")
    degree: int = hyperparameter(2, ge=1, le=5, help="highest degree of a monomial")

    @property
    def tikhonov(self) -> float:
        """The regression's ridge."""
        return self.tikhonov_weight

    def coordinates(self, x: Tensor, run: Run) -> tuple[Map, Map]:
        """The dictionary, and the state read off its entries after the constant."""
        V = leading_directions(x, self.rank)
        features = self._splines(x @ V, run) if self.dictionary == "rbf" else self._monomials(V.shape[1], x.device)

        def lift(states: Tensor) -> Tensor:
            z = states @ V
            return torch.cat([torch.ones_like(z[:, :1]), z, features(z)], dim=1)

        return lift, lambda psi: psi[:, 1 : V.shape[1] + 1] @ V.T

    def _splines(self, z: Tensor, run: Run) -> Map:
        fitted = KMeans(self.centers, n_init=1, random_state=run.numpy_seed("centers")).fit(z.cpu().numpy())
        centers = torch.tensor(fitted.cluster_centers_, dtype=z.dtype, device=z.device)

        def features(z: Tensor) -> Tensor:
            squared = (z[:, None] - centers).square().sum(2)
            return 0.5 * torch.xlogy(squared, squared)

        return features

    def _monomials(self, size: int, device: torch.device) -> Map:
        """All products of 2 to ``degree`` entries, padded by a column of ones so that each has as many factors."""
        chosen = [
            (*entries, *[size] * (self.degree - count))
            for count in range(2, self.degree + 1)
            for entries in itertools.combinations_with_replacement(range(size), count)
        ]
        index = torch.tensor(chosen, dtype=torch.int64, device=device).reshape(-1, self.degree)
        return lambda z: torch.cat([z, torch.ones_like(z[:, :1])], dim=1)[:, index].prod(2)
