"""The multiple-instance task: one loop over bags that every method of the track shares."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.multiple_instance import aggregators
from regbench.methods.multiple_instance.aggregators import Aggregate
from regbench.methods.multiple_instance.metrics import attention_metrics, bag_metrics
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.bags import Bags, pad
from regbench.methods.training import MixedPrecisionMethod, NetworkMethod, set_rate

TRACK = Track(
    name="multiple_instance",
    help="one label for a bag of instances, judged by how well bags are ranked, and by how little attention collapses",
    metrics=(
        Metric("auroc", "max"),
        Metric("f1", "max"),
        Metric("accuracy", "max"),
        Metric("nll", "min"),
        Metric("attention_entropy", "max"),
    ),
    data=("digit_bags", "digit_bags_rare", "musk1", "musk2", "camelyon16"),
    baseline="attention_mil",
    smoke={"epochs": 3, "batch_size": 20, "feature_dim": 16, "attention_dim": 8, "learning_rate": 1e-3},
)

# Instances, padding included, that are evaluated at once.
EVALUATION_INSTANCES = 2**17

Model = Callable[[Tensor, Tensor], Aggregate]


@dataclass(frozen=True)
class Batch:
    """A mini-batch of bags and its place in training.

    Attributes:
        x: instances ``[B, N, d]``, zero behind the end of a bag.
        present: where instances are, bool ``[B, N]``.
        y: labels of the bags ``[B]``, int64.
        progress: share of all steps of the training that are done, in [0, 1).
    """

    x: Tensor
    present: Tensor
    y: Tensor
    progress: float


class MultipleInstanceMethod(MixedPrecisionMethod, NetworkMethod):
    """Trains an aggregator on bags, AdamW with half a cosine, and validates it after each epoch.

    A method of the track overrides ``objective``. Besides the track's metrics, of which ``attention_entropy`` (in nats) is a
    diagnosis and no aim, since uniform attention maximizes it, the evaluation records the entropy over log N
    (``attention_spread``), the largest weight of an instance (``attention_largest``), and where the data tell which
    instances are witnesses, the weight of these (``attention_on_witnesses``).

    Published practice keeps the epoch that is best on validation data; here the last epoch counts, as for every method,
    because validation data are for tuning.
    """

    track: ClassVar[Track] = TRACK

    aggregator: aggregators.Aggregator = hyperparameter(
        "gated_attention", help="gated_attention (ABMIL), attention, multi_head_attention, dsmil, or mean (uniform attention)"
    )
    feature_dim: int = hyperparameter(128, ge=1, help="width of a projected instance; of a query, for dsmil")
    attention_dim: int = hyperparameter(128, ge=1, help="hidden width of gated_attention and attention")
    epochs: int = hyperparameter(50, ge=1, help="passes over the training bags")
    batch_size: int = hyperparameter(1, ge=1, help="bags in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(
        1e-4, gt=0, may_change=True, help="of AdamW at the start; falls to 0 along half a cosine, step by step"
    )
    weight_decay: float = hyperparameter(1e-5, ge=0, may_change=True, help="decoupled decay of AdamW")
    instance_subsampling: float = hyperparameter(
        1.0, gt=0, le=1, may_change=True, help="share of a bag's instances that a training step sees, drawn anew each time"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.aggregator == "multi_head_attention" and self.feature_dim % aggregators.HEADS:
            raise ValueError(
                f"multi_head_attention has {aggregators.HEADS} heads: set feature_dim to a multiple of that, not "
                f"{self.feature_dim}"
            )
        return self

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Aggregate]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps instances ``[B, N, d]`` and where they are ``[B, N]`` to an aggregate.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, a mean over bags, and what the model gave.
        """
        found = model(batch.x, batch.present)
        loss = cross_entropy(found.logits, batch.y)
        if found.critical is not None:
            loss = 0.5 * loss + 0.5 * cross_entropy(found.critical, batch.y)
        return loss, found

    def build_model(self, data: Data) -> nn.Module:
        """The aggregator, with fresh parameters."""
        (features,) = data.meta["shape"]
        return aggregators.build(self.aggregator, features, data.meta["classes"], self.feature_dim, self.attention_dim)

    def build_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW; fused, because with one bag a step the optimizer would take as long as the network."""
        return torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Batch]:
        """Mini-batches of bags."""
        steps = math.ceil(len(split) / self.batch_size)
        for step, (starts, counts, y, _) in enumerate(run.loader(split, self.batch_size)):
            x, present, _ = bag_batch(split, starts, counts, run, self.instance_subsampling)
            yield Batch(x, present, y, (epoch - 1 + step / steps) / self.epochs)

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, weights: SimpleNamespace, run: Run
    ) -> Tensor:
        """One step of descent, at a rate that falls from step to step."""
        set_rate(optimizer, self.learning_rate * half_cosine(batch.progress))
        return super().step(model, optimizer, batch, weights, run)

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the bags' classifier is given; inputs are the means of their instances."""
        split = run.data.validation
        starts, counts, y = run.tensors(split)
        rows = fixed_rows(len(y), count, run.device)
        x, present, _ = bag_batch(split, starts[rows], counts[rows], run)
        means = x.sum(1) / counts[rows, None]
        return Hidden(penultimate(run.network, x, present), means, y[rows])

    def evaluate(self, network: Model, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a network on a split of bags, and means over bags of how it spreads attention."""
        assert isinstance(split, Bags)
        starts, counts, y = run.tensors(split)
        size = max(1, EVALUATION_INSTANCES // int(counts.max()))
        parts: list[tuple[Tensor, dict[str, Tensor]]] = []
        with torch.no_grad():
            for bags in torch.arange(len(y), device=run.device).split(size):
                x, present, witnesses = bag_batch(split, starts[bags], counts[bags], run)
                found = network(x, present)
                parts.append((probabilities(found), attention_metrics(found.attention.double(), witnesses)))
        p = torch.cat([part for part, _ in parts])
        spread = {name: torch.cat([values[name] for _, values in parts]).nanmean().item() for name in parts[0][1]}
        return bag_metrics(p, y) | spread


def half_cosine(progress: float) -> float:
    """(1 + cos(π t)) / 2: from 1 at t = 0 to 0 at t = 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def bag_batch(
    split: TensorDataset, starts: Tensor, counts: Tensor, run: Run, share: float = 1.0
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The instances of some bags of a split.

    Args:
        split: the bags.
        starts: places of their first instances ``[B]``.
        counts: their numbers of instances ``[B]``.
        run: holds the instances on its device.
        share: of each bag's instances that is drawn, without replacement.

    Returns:
        Instances ``[B, N, d]``, zero at padding, where they are ``[B, N]``, and which are witnesses ``[B, N]`` or None.
    """
    assert isinstance(split, Bags)
    instances, *witnesses = run.tensors(split.instances)
    generator = run.generator("instances", run.device) if share < 1 else None
    places, present = pad(starts, counts, share=share, generator=generator)
    x = torch.where(present[:, :, None], instances[places], 0.0)
    return x, present, witnesses[0][places] & present if witnesses else None


def probabilities(found: Aggregate) -> Tensor:
    """Probabilities of the classes ``[B, C]``, float64; the mean of both streams' where instances are classified too."""
    p = found.logits.double().softmax(1)
    return p if found.critical is None else 0.5 * p + 0.5 * found.critical.double().softmax(1)
