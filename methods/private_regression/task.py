"""The private regression task: a linear model by full-batch descent, released under noise. Methods change its objective."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.privacy.attributes import AttributeMethod, Model
from regbench.methods.shared.data.private import PrivateData

TRACK = Track(
    name="private_regression",
    help="linear predictions released under noise, judged by their fit and by what they tell of a sensitive attribute",
    metrics=(
        Metric("exposure", "min"),
        Metric("r2", "max"),
        Metric("attack_accuracy", "min"),
        Metric("attack_advantage", "min"),
        Metric("information", "min"),
    ),
    data=("private_diabetes",),
    baseline="least_squares",
    smoke={"share": 0.5},
    iterative=False,
)


@dataclass(frozen=True)
class Batch:
    """All rows ``[N, F]`` and targets ``[N]``, float64."""

    x: Tensor
    y: Tensor


class PrivateRegressionMethod(AttributeMethod):
    """Fits ŷ = wᵀx + b and releases ŷ + σ₀ ξ with ξ ~ N(0, 1).

    ``r2`` is that of what is released, 1 - Σ (y - ŷ)² / Σ (y - ȳ)². ``information`` is I(X; Ŷ) in nats if X were Gaussian. A
    method of the track overrides ``objective``, which BFGS with limited memory minimizes to convergence, from 0.
    """

    track: ClassVar[Track] = TRACK

    output_noise_std: float = hyperparameter(0.2, gt=0, help="noise σ₀ on released predictions, for targets of deviation 1")
    utility_floor: float = hyperparameter(0.35, ge=0, le=1, help="r2 below which exposure grows")

    def objective(self, model: nn.Module, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The training objective, as a pure function of its arguments, and the predictions ``[N]``.

        Args:
            model: maps rows ``[N, F]`` to predictions ``[N, 1]``.
            batch: all rows.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.
        """
        predicted = model(batch.x)[:, 0]
        return (predicted - batch.y).square().mean(), predicted

    def fit(self, x: Tensor, y: Tensor, data: PrivateData) -> Model:
        """The linear model, and its Gaussian release."""
        model = nn.Linear(x.shape[1], 1).to(x)
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        batch, weights, noise = Batch(x, y), self.weight_values(), self.output_noise_std
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss, _ = self.objective(model, batch, weights)
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        model.requires_grad_(False)
        return Model(
            predict=lambda rows: model(rows)[:, 0],
            release=lambda p, stream: p + noise * torch.randn(p.shape, generator=stream, dtype=p.dtype, device=p.device),
            log_likelihood=lambda released, p: -((released - p) / noise).square() / 2,
            information=gaussian_information(model.weight[0], covariance(x), noise).item(),
        )

    def utility(self, released: Tensor, y: Tensor) -> Metrics:
        """The coefficient of determination."""
        return {"r2": 1 - ((y - released).square().sum() / (y - y.mean()).square().sum()).item()}


def covariance(x: Tensor) -> Tensor:
    """Σ ``[F, F]`` of rows ``[N, F]``, divided by N."""
    return x.mT.cov(correction=0)


def gaussian_information(w: Tensor, covariance: Tensor, noise: float | Tensor) -> Tensor:
    """I(X; wᵀX + σ₀ ξ) = ½ log(1 + wᵀΣw / σ₀²) in nats, for Gaussian X (eq. 6).

    Args:
        w: ``[F]``.
        covariance: Σ ``[F, F]``.
        noise: σ₀.
    """
    return torch.log1p(w @ covariance @ w / noise**2) / 2
