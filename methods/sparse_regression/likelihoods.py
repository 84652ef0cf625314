"""Losses of a linear predictor η, as means over rows: squared error and logistic."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from regbench.methods.shared.data.sparse_problems import Outcome


class Likelihood(Protocol):
    """The mean negative log-likelihood of outcomes y ``[n]`` given η ``[n]``, up to constants.

    Attributes:
        curvature: the largest second derivative of a row's term.
    """

    curvature: float

    def value(self, eta: Tensor, y: Tensor) -> Tensor:
        """A scalar."""

    def slope(self, eta: Tensor, y: Tensor) -> Tensor:
        """The derivative of each row's term in its η ``[n]``; not divided by n."""

    def link(self, mean: Tensor) -> Tensor:
        """The η under which an outcome has this mean."""


class Gaussian:
    """Half the mean squared error."""

    curvature = 1.0

    def value(self, eta: Tensor, y: Tensor) -> Tensor:
        """‖y - η‖² / 2n."""
        return (y - eta).square().mean() / 2

    def slope(self, eta: Tensor, y: Tensor) -> Tensor:
        """η - y."""
        return eta - y

    def link(self, mean: Tensor) -> Tensor:
        """The mean."""
        return mean


class Bernoulli:
    """The logistic loss of outcomes 0 and 1."""

    curvature = 0.25

    def value(self, eta: Tensor, y: Tensor) -> Tensor:
        """Mean of log(1 + e^η) - yη."""
        return (softplus(eta) - y * eta).mean()

    def slope(self, eta: Tensor, y: Tensor) -> Tensor:
        """sigmoid(η) - y."""
        return eta.sigmoid() - y

    def link(self, mean: Tensor) -> Tensor:
        """log(m / (1 - m))."""
        return torch.logit(mean)


LIKELIHOODS: dict[Outcome, Likelihood] = {"continuous": Gaussian(), "binary": Bernoulli()}
