"""How well an operator on lifted states forecasts, what its spectrum is, and how many dimensions its coordinates fill."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from regbench.methods.dynamics.information import covariance, von_neumann_entropy
from regbench.methods.method import Metrics

HORIZONS = (5, 20, 50)
BINS = 50
# States that are lifted or decoded at once.
CHUNK = 4096

Map = Callable[[Tensor], Tensor]


def apply(function: Map, x: Tensor) -> Tensor:
    """A function of rows ``[M, …]``, applied to ``[N, L, …]`` in parts that fit the memory."""
    rows = x.flatten(0, 1)
    return torch.cat([function(part) for part in rows.split(CHUNK)]).unflatten(0, x.shape[:2])


def forecast_metrics(x: Tensor, lift: Map, operator: Tensor, lower: Map, meta: Mapping[str, Any]) -> Metrics:
    """Metrics of x̂_{t+s} = lower(lift(x_t) K^s) on trajectories, from every state that has one 50 steps later.

    Args:
        x: trajectories ``[N, L, …]``, L > 50.
        lift: states ``[M, …]`` to coordinates ``[M, d]``.
        operator: K ``[d, d]``, float64.
        lower: coordinates to states.
        meta: of the data set.

    Returns:
        ``nrmse_s``: (Σ ‖x̂ - x‖² / Σ ‖x - x̄‖²)^½, s steps ahead, 1 for a forecast of the mean; ``effective_dimension``: e^S of
        the coordinates; ``spectral_radius``: of K; ``linearity_error``: (Σ ‖z_{t+1} - z_t K‖² / Σ ‖z - z̄‖²)^½; for states that
        are vectors, ``kld``: mean over components of the Kullback-Leibler divergence between histograms of true states and of
        forecasts from the first one; where trajectories end on a limit cycle of frequency ω, ``cycle_error``: distance of
        e^{iω dt} to the nearest eigenvalue.
    """
    z = apply(lift, x).double()
    centred = z - z.mean((0, 1))
    eigenvalues = torch.linalg.eigvals(operator)
    found = {
        f"nrmse_{horizon}": _nrmse(_forecast(z[:, : x.shape[1] - HORIZONS[-1]], operator, horizon, lower, x.dtype), x, horizon)
        for horizon in HORIZONS
    }
    found |= {
        "effective_dimension": von_neumann_entropy(covariance(z)).exp().item(),
        "spectral_radius": eigenvalues.abs().max().item(),
        "linearity_error": _ratio(z[:, 1:] - z[:, :-1] @ operator, centred),
    }
    if x.dim() == 3:
        rollout = torch.cat([_forecast(z[:, :1], operator, s, lower, x.dtype) for s in range(1, x.shape[1])], dim=1)
        found["kld"] = histogram_divergence(x[:, 1:].flatten(0, 1), rollout.flatten(0, 1))
    if "frequency" in meta:
        angle = torch.tensor(meta["frequency"] * meta["dt"], dtype=torch.float64, device=x.device)
        found["cycle_error"] = (eigenvalues - torch.polar(torch.ones_like(angle), angle)).abs().min().item()
    return found


def histogram_divergence(true: Tensor, forecast: Tensor) -> float:
    """KL(p ‖ p̂) of histograms, mean over components of samples ``[M, D]`` and ``[N, D]``.

    50 bins over the range of the true samples and one beyond on either side, each with half a sample more.
    """
    counts = []
    low, high = true.amin(0), true.amax(0)
    for samples in (true, forecast):
        place = ((samples - low) / (high - low).clamp_min(1e-12) * BINS).nan_to_num(-1.0).clamp(-1, BINS).floor().long() + 1
        # The largest true sample belongs to the last bin within.
        place = torch.where(samples == high, torch.full_like(place, BINS), place)
        offset = (BINS + 2) * torch.arange(samples.shape[1], device=samples.device)
        count = (place + offset).flatten().bincount(minlength=(BINS + 2) * samples.shape[1]).view(-1, BINS + 2).double() + 0.5
        counts.append(count / count.sum(1, keepdim=True))
    return (counts[0] * (counts[0] / counts[1]).log()).sum(1).mean().item()


def _forecast(z: Tensor, operator: Tensor, horizon: int, lower: Map, dtype: torch.dtype) -> Tensor:
    return apply(lower, (z @ torch.linalg.matrix_power(operator, horizon)).to(dtype))


def _nrmse(forecast: Tensor, x: Tensor, horizon: int) -> float:
    truth = x[:, horizon : horizon + forecast.shape[1]].double()
    return _ratio(forecast.double() - truth, truth - truth.mean((0, 1)))


def _ratio(errors: Tensor, deviations: Tensor) -> float:
    return (errors.square().sum() / deviations.square().sum().clamp_min(1e-300)).sqrt().item()
