"""What dynamic mode decompositions share: coordinates that are chosen rather than learned, and one regression."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.dynamics.metrics import Map, apply, forecast_metrics, spectrum
from regbench.methods.dynamics.operators import least_squares
from regbench.methods.dynamics.task import TRACK
from regbench.methods.method import Metrics, Track
from regbench.methods.run import Run
from regbench.methods.training import Estimator


class LinearForecast(Estimator):
    """Forecasts with the least-squares operator on fixed coordinates of training states; one round, nothing iterates.

    A method overrides ``coordinates``, and ``tikhonov`` where it regularizes the regression.
    """

    track: ClassVar[Track] = TRACK
    off_equals: ClassVar[str | None] = None  # no network

    @property
    def tikhonov(self) -> float:
        """The regression's ridge, relative to the mean of squares."""
        return 0.0

    @abstractmethod
    def coordinates(self, x: Tensor, run: Run) -> tuple[Map, Map]:
        """Maps of states to coordinates and back, chosen by training states ``[M, D]``."""

    def fit_and_judge(self, run: Run) -> Metrics:
        """Fits the operator and judges it."""
        (x,) = run.tensors(run.data.train)
        flat = x.flatten(2)
        lift, lower = self.coordinates(flat.flatten(0, 1), run)
        z = apply(lift, flat)
        operator = least_squares(z[:, :-1].flatten(0, 1), z[:, 1:].flatten(0, 1), self.tikhonov)

        def evaluate(split: TensorDataset) -> Metrics:
            return forecast_metrics(run.tensors(split)[0].flatten(2), lift, operator, lower, run.data.meta)

        return spectrum(operator, run.data.meta) | run.judge(evaluate)


def leading_directions(x: Tensor, rank: int) -> Tensor:
    """The first right singular vectors of states ``[M, D]``, at most so many, ``[D, r]``."""
    return torch.linalg.svd(x, full_matrices=False).Vh[:rank].T
