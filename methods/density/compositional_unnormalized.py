"""MECO: maximum likelihood of unnormalized models by compositional optimization."""

from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.density.task import (
    Batch,
    DensityMethod,
    Model,
    likelihood_surrogate,
    log_mean_exp,
    over_workers,
    split_pass,
)
from regbench.methods.method import Paper, hyperparameter, is_off, weight


class CompositionalUnnormalized(DensityMethod):
    """min_θ -mean h(x) + log E_q[w], w = e^h / q, as a composition: a moving average takes the place of the inner mean.

    With a mini-batch of data and one of noise, and sg the stop-gradient:

    - u_t = (1 - γ) u_{t-1} + γ mean_j w_j, from the first mini-batch's mean on, kept as a logarithm;
    - v_t = (1 - β) v_{t-1} + β ∇(-mean h(x) + mean_j w_j / sg(u_t)), from the first gradient on;
    - θ_{t+1} = θ_t - η v_t.

    With γ = β = 1, its off values, this is ``importance_likelihood``.

    RECONSTRUCTION: the paper's body could not be read. The three equations follow its abstract and a published program; how u
    and v start, the warm-up of γ, Adam on v_t in the place of the last equation, and the experiments' networks and noise are
    this project's. The decay is not the paper's.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Learning Unnormalized Statistical Models via Compositional Optimization",
        "Jiang, Qin, Wu, Chen, Yang, Zhang",
        2023,
        "ICML",
        "2306.07485",
    )

    inner_moving_average_rate: float = weight(
        0.1, off=1.0, gt=0, le=1, symbol="γ", differentiable=False, help="share of the newest mini-batch in the normalizer"
    )
    gradient_moving_average_rate: float = weight(
        1.0, off=1.0, gt=0, le=1, symbol="β", differentiable=False, help="share of the newest gradient in the step"
    )
    energy_weight_decay: float = weight(
        0.0, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of ‖θ‖² / 2; not the paper's"
    )
    inner_warmup_steps: int = hyperparameter(0, ge=0, help="steps over which γ falls linearly from 1 to its value")

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The surrogate whose gradient is the bracket of v_t, and log u_t; see the class."""
        h_x, log_w = split_pass(model, batch)
        log_mean = log_mean_exp(log_w)
        newest = over_workers(log_mean.detach(), batch)
        log_u = newest
        rate = self.inner_rate(batch.step, weights.inner_moving_average_rate)
        if batch.log_u is not None and rate < 1:
            share = torch.tensor(rate, dtype=newest.dtype, device=newest.device)
            log_u = torch.logaddexp((1 - share).log() + batch.log_u, share.log() + newest)
        loss = likelihood_surrogate(h_x, log_mean, log_u)
        if not is_off(weights.energy_weight_decay):
            assert isinstance(model, nn.Module)
            squares = torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
            loss = loss + 0.5 * weights.energy_weight_decay * squares
        return loss, log_u

    def inner_rate(self, step: int, rate: float) -> float:
        """γ at a step."""
        done = min(1.0, (step - 1) / self.inner_warmup_steps) if self.inner_warmup_steps else 1.0
        return 1 + (rate - 1) * done

    def turn(self, network: nn.Module, memory: dict[str, Any], weights: SimpleNamespace) -> None:
        """Replaces gradients by their moving averages."""
        rate = weights.gradient_moving_average_rate
        if rate == 1:
            return
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            key = f"v {name}"
            if key in memory:
                parameter.grad.mul_(rate).add_(memory[key].to(parameter.device), alpha=1 - rate)
            memory[key] = parameter.grad.clone()
