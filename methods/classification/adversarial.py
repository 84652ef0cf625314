"""What methods share that attack their own training batches."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from regbench.methods.classification.attacks import Norm, ascend, in_evaluation
from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.method import hyperparameter


class AdversarialMethod(ClassificationMethod):
    """Trains against the worst input of a ball around each example, sought by projected gradient ascent in every batch.

    Its own ``radius``, in its own ``norm``, is what it trains for; ``attack_radius`` is what every method is judged by.
    """

    numbers_only: ClassVar[bool] = True

    radius: float = hyperparameter(
        0.1, ge=0, may_change=True, help="radius of the ball in which training seeks the worst input"
    )
    norm: Norm = hyperparameter("linf", help="norm of that ball: linf or l2")
    pgd_steps: int = hyperparameter(7, ge=1, help="ascent steps in that ball")
    pgd_step_size: float | None = hyperparameter(None, gt=0, help="length of a step; by default a quarter of the radius")

    def worst(self, model: Logits, batch: Batch, radius: float | Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Inputs ``[B, *shape]`` within ``radius`` of the batch's, without gradient, that raise an objective of their logits.

        The network is attacked in evaluation mode.

        Args:
            model: maps inputs to logits.
            batch: the mini-batch.
            radius: of the ball.
            objective: maps logits ``[B, K]`` to values ``[B]``.
        """
        network = _own(model)
        with in_evaluation(network):
            return ascend(
                lambda x: objective(network(x)),
                batch.x,
                radius,
                norm=self.norm,
                steps=self.pgd_steps,
                step_size=radius / 4 if self.pgd_step_size is None else self.pgd_step_size,
                generator=batch.generator,
            )

    def attacked(self, model: Logits, batch: Batch) -> Tensor:
        """The logits ``[B, K]`` that an attack moves away from: the batch's in evaluation mode, without gradient."""
        network = _own(model)
        with in_evaluation(network):
            return network(batch.x).detach()


def _own(model: Logits) -> Logits:
    """A worker's own network: it attacks its own inputs, without the wrapper that averages gradients over workers."""
    return model.module if isinstance(model, DistributedDataParallel) else model
