"""Proximal matching on a prior that is known: what learned proximal networks recover (Fang et al., 2024, section 4.1)."""

from types import SimpleNamespace
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import l1_loss

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.prior_recovery.task import Batch, PriorRecoveryMethod
from regbench.methods.shared.proximal.matching import linear_width, proximal_matching, stage


class ScalarProximal(PriorRecoveryMethod):
    """Trains by the mean absolute error, then by proximal matching mean_b [1 - exp(-‖f(y_b) - x_b‖² / γ²)] in stages.

    γ falls linearly, by default .5, .4, .3, .2, .1, and the learning rate is that of the start in the first stage, a hundredth
    in the last one and a tenth in between. In the limit f is the proximal operator of -σ² log p, for a
    Laplace prior the soft threshold, and the regularizer that f belongs to is |x|. With no share of the steps for it, what is
    left is the median.
    """

    paper: ClassVar[Paper | None] = Paper(
        "What's in a Prior? Learned Proximal Networks for Inverse Problems", "Fang, Buchanan, Sulam", 2024, "ICLR", "2310.14344"
    )

    matching_fraction: float = weight(
        5 / 7,
        off=0.0,
        ge=0,
        le=1,
        symbol="1 - t",
        differentiable=False,
        may_change=False,
        help="share of steps by matching",
    )
    proximal_gamma_min: float = hyperparameter(0.1, gt=0, help="γ of the last stage")
    num_gamma_stages: int = hyperparameter(5, ge=1, help="widths")

    @property
    def pretraining(self) -> int:
        """Steps before proximal matching."""
        return self.iterations - round(self.matching_fraction * self.iterations)

    def stage(self, step: int) -> int:
        """The stage of proximal matching, from 0, of a step, from 0, after pretraining."""
        return stage(step - self.pretraining, self.iterations - self.pretraining, self.num_gamma_stages)

    def rate(self, step: int) -> float:
        """Lower in the second half of pretraining, then by stages."""
        if step < self.pretraining:
            return 1.0 if 2 * step < self.pretraining else 0.1
        place = self.stage(step)
        return 1.0 if place == 0 else 0.01 if place == self.num_gamma_stages - 1 else 0.1

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The loss of the step's stage."""
        found = model(batch.noisy)
        if batch.step < self.pretraining:
            return l1_loss(found, batch.clean), found
        width = linear_width(self.stage(batch.step), self.num_gamma_stages, self.proximal_gamma_min)
        return proximal_matching(found, batch.clean, width), found
