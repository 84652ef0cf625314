"""Information-theoretic Koopman representation: predictable latents that do not collapse onto few modes."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from regbench.methods.dynamics.information import (
    batch_info_nce,
    covariance,
    gaussian_information,
    von_neumann_entropy,
    window_info_nce,
)
from regbench.methods.dynamics.networks import Pass
from regbench.methods.dynamics.task import Batch, KoopmanMethod, Model
from regbench.methods.method import Paper, hyperparameter, is_off, weight

# Share of the latents' mean variance added to the covariance of the noise, which is singular for exactly linear latents.
NOISE_FLOOR = 1e-6


class KoopmanInformation(KoopmanMethod):
    """A Koopman autoencoder's loss plus α times a loss for latent mutual information minus γ S(C / tr C).

    The Lagrangian (equation 8) is max α log I(z_{t-n}; z_t) - β I(z_t; x_t | z_{t-n}) + γ S(C / tr C) + log p(x_t | z_t), with
    S(ρ) = -tr(ρ log ρ) and C the covariance of all latents of a batch. The information makes latents predictable, but by itself
    gathers them on few modes; the entropy keeps e^S, their effective dimension, high. ``objective_form`` chooses what they are
    added to: the released code's loss, algorithm 2 (autoencoder) or algorithm 1 (variational).

    Paper and released code differ. As named options: the estimate of the information (``code``: InfoNCE of cosines, against the
    other steps of the same window; ``paper``: of inner products, against the same step of other windows; ``gaussian`` and
    ``log_gaussian``: the closed form for linear Gaussian latents, equation 7, and its logarithm as in equation 8), and the sign
    of the entropy: the released trainer adds +γ S and so *minimizes* it, against the equations and the argument.
    Inputs that control the system (K z + B a) are left out: the track's systems have none.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Information Shapes Koopman Representation",
        "Cheng, Yuan, Yang, Zhang, Cheng, He, Sun",
        2026,
        "ICLR",
        "2510.13025",
    )

    mutual_information_weight: float = weight(
        2.0, off=0.0, ge=0, symbol="α", differentiable=True, help="weight of the information between neighbouring latents"
    )
    von_neumann_entropy_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="γ", differentiable=True, help="weight of the entropy of the latents' covariance"
    )
    temperature: float = weight(
        0.1,
        off=0.1,
        gt=0,
        symbol="τ",
        differentiable=True,
        help="of InfoNCE, without effect when switched off; the released settings say 0.07, which is never used",
    )
    information_estimate: Literal["code", "paper", "gaussian", "log_gaussian"] = hyperparameter(
        "code", help="code or paper (InfoNCE), gaussian (closed form for few dimensions) or its logarithm"
    )
    neighborhood_size: int = hyperparameter(
        3, ge=1, may_change=True, help="k, steps each side that count as neighbours; for gaussian, the lag n"
    )
    entropy_sign: Literal["paper", "code"] = hyperparameter(
        "paper", help="paper: maximizes the entropy; code: minimizes it, as the released trainer does"
    )

    @model_validator(mode="after")
    def _windows_hold_neighbours(self) -> Self:
        if self.information_estimate in ("code", "paper") and 2 * self.neighborhood_size >= self.window_length:
            raise ValueError(
                f"no step of {self.window_length} has {self.neighborhood_size} neighbours on each side: "
                f"set window_length above {2 * self.neighborhood_size} or neighborhood_size lower"
            )
        return self

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Pass]:
        """The autoencoder's objective with information and entropy of the windows' first T latents; see the class."""
        loss, found = super().objective(model, batch, weights)
        z = found.latents[:, :-1]
        if not is_off(weights.mutual_information_weight):
            loss = loss + weights.mutual_information_weight * self.information_loss(found, batch, weights)
        if not is_off(weights.von_neumann_entropy_weight):
            entropy = von_neumann_entropy(covariance(batch.pool(z))).to(loss.dtype)
            sign = -1 if self.entropy_sign == "paper" else 1
            loss = loss + sign * weights.von_neumann_entropy_weight * entropy
        return loss, found

    def information_loss(self, found: Pass, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """What falls where the information between neighbouring latents rises; a scalar."""
        z = found.latents[:, :-1]
        if self.information_estimate == "code":
            return window_info_nce(z, self.neighborhood_size, weights.temperature)
        if self.information_estimate == "paper":
            return batch_info_nce(batch.pool(z), self.neighborhood_size, weights.temperature)
        C = covariance(batch.pool(z))
        noise = covariance(batch.pool(found.latents[:, 1:] - found.steps))
        floor = NOISE_FLOOR * C.diagonal().mean() * torch.eye(len(C), dtype=C.dtype, device=C.device)
        information = gaussian_information(found.operator.T.double(), C, noise + floor, self.neighborhood_size).to(z.dtype)
        return -(information.log() if self.information_estimate == "log_gaussian" else information)
