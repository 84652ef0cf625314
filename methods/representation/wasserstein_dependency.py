"""WPC: predictive coding with a Lipschitz critic, in place of mutual information a Wasserstein dependency."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.representation.dependency import contrastive_objective, wasserstein_objective
from regbench.methods.representation.networks import Embedded
from regbench.methods.representation.task import Batch, Model, RepresentationMethod
from regbench.methods.shared.lipschitz import lipschitz_penalty, slope_norms


class WassersteinDependency(RepresentationMethod):
    """Minimizes -J + λ E(‖∇f(x̂, ŷ)‖ - K)², the norm over both views together.

    J is the objective of contrastive coding (``wpc``), whose critic f the penalty makes K-Lipschitz in its inputs, or the dual
    of the Wasserstein distance itself (``wdm``), the mean score of pairs less that of re-paired ones. (x̂, ŷ) lies between a
    pair and one re-paired by a permutation π: x̂ = x_i, ŷ = ε y_i + (1 - ε) y_π(i), with ε uniform for each; or at the pair
    itself (``gp_location``). ``penalty_sides: one`` lets slopes below K pass.

    With K a log-likelihood ratio cannot grow without limit along one factor, so a critic that is to tell pairs apart needs all
    factors, where mutual information is content with log B nats. Where the penalty is evaluated, its weight and the critic's
    form could not be read in the paper: they follow Gulrajani et al. (2017). Pixels are in [0, 1]; scaling them scales K.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Wasserstein Dependency Measure for Representation Learning",
        "Ozair, Lynch, Bengio, van den Oord, Levine, Sermanet",
        2019,
        "NeurIPS",
        "1903.11780",
    )

    gradient_penalty_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the slopes' departure from K"
    )
    dependency: Literal["wpc", "wdm"] = hyperparameter(
        "wpc", help="objective: wpc (contrastive) or wdm (difference of means, unbounded without the penalty)"
    )
    lipschitz_constant: float = hyperparameter(1.0, gt=0, help="K, the slope that the critic is to have")
    penalty_sides: Literal["two", "one"] = hyperparameter("two", help="two: slopes are to be K; one: at most K")
    gp_location: Literal["interpolate", "data"] = hyperparameter(
        "interpolate", help="where slopes are taken: between pairs and re-paired ones, or at pairs"
    )

    def baseline(self) -> Self:
        """Contrastive coding, whose objective is bounded without a penalty."""
        return self.replace(dependency="wpc", gradient_penalty_weight=0.0)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Embedded]:
        """The negative dependency plus the weighted penalty, and the representations; see the class."""
        dependency = contrastive_objective if self.dependency == "wpc" else wasserstein_objective
        if is_off(weights.gradient_penalty_weight):
            found = model(batch.x, batch.y)
            return -dependency(found.x @ found.y.T), found
        share = batch.share[:, None, None, None] if self.gp_location == "interpolate" else 1.0
        x = batch.x.detach().requires_grad_()
        between = (share * batch.y + (1 - share) * batch.y[batch.order]).detach().requires_grad_()
        found = model(x, torch.cat([batch.y, between]))
        y, y_between = found.y.chunk(2)
        norms = slope_norms((found.x * y_between).sum(1), x, between)
        penalty = lipschitz_penalty(norms, self.lipschitz_constant, one_sided=self.penalty_sides == "one").mean()
        return -dependency(found.x @ y.T) + weights.gradient_penalty_weight * penalty, Embedded(found.x, y)
