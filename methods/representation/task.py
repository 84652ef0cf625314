"""The representation task: one loop that trains two encoders on pairs of views. A method changes what it minimizes."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.representation.networks import Architecture, CriticName, Embedded, PairEncoder
from regbench.methods.representation.probes import LinearProbes
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.images import unit
from regbench.methods.training import Means, MixedPrecisionMethod, StepMethod, descend, set_rate

TRACK = Track(
    name="representation",
    help="encoders of paired views, judged by how well each factor that the views share is read off linearly",
    metrics=(Metric("accuracy", "max"), Metric("worst_accuracy", "max")),
    data=(
        "spatial_digits_4",
        "spatial_digits_9",
        "spatial_digits_1",
        "stacked_digits_9",
        "stacked_digits_4",
        "spatial_omniglot_9",
        "spatial_omniglot_4",
        "spatial_omniglot_1",
        "stacked_omniglot_9",
        "stacked_omniglot_4",
    ),
    baseline="contrastive_coding",
    smoke={
        "iterations": 6,
        "report_every": 2,
        "batch_size": 16,
        "channels": 4,
        "hidden_dim": 16,
        "embedding_dim": 8,
        "probed": 100,
    },
)

# Images that are encoded at once in the evaluation.
EVALUATION_BATCH = 500

Model = Callable[[Tensor, Tensor], Embedded]


@dataclass(frozen=True)
class Batch:
    """A mini-batch of pairs, and what is drawn for it.

    Attributes:
        x, y: two views ``[B, C, H, W]``, in [0, 1].
        factors: what they share ``[B, F]``, int64; contrastive methods must not look at it.
        share: uniform in [0, 1), ``[B]``.
        order: a permutation of the rows ``[B]``.
    """

    x: Tensor
    y: Tensor
    factors: Tensor
    share: Tensor
    order: Tensor


class RepresentationMethod(MixedPrecisionMethod, StepMethod):
    """Trains two encoders on pairs of views, and probes the first.

    A method overrides ``objective``, and ``build_model`` where it has other heads. Linear probes are fitted to the training
    rows' representations φ(x), one for each factor; metrics are the mean and the least of their accuracies on held-out rows.
    """

    track: ClassVar[Track] = TRACK

    architecture: Architecture = hyperparameter("convolutional", help="both encoders: convolutional or dense")
    critic: CriticName = hyperparameter("dot", help="dot: inner product of both representations; bilinear: a matrix between")
    channels: int = hyperparameter(32, ge=1, help="of the first convolution; the second has twice as many")
    hidden_dim: int = hyperparameter(128, ge=1, help="width of dense layers")
    embedding_dim: int = hyperparameter(64, ge=1, help="size d of a representation")
    iterations: int = hyperparameter(1200, ge=1, help="steps")
    report_every: int = hyperparameter(400, ge=1, help="steps in one round")
    batch_size: int = hyperparameter(64, ge=2, help="pairs in a mini-batch, over all workers; its others are the negatives")
    learning_rate: float = hyperparameter(1e-3, gt=0, help="of AdamW")
    weight_decay: float = hyperparameter(0.0, ge=0, help="decoupled decay")
    probed: int = hyperparameter(10_000, ge=50, help="rows that probes are fitted to and judged on, at most")

    @abstractmethod
    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Embedded]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps views x ``[A, C, H, W]`` and y ``[B, C, H, W]`` to their representations; to be called once.
            batch: the mini-batch.
            weights: the method's weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and what the model gave.
        """

    def build_model(self, data: Data) -> Any:
        """Both encoders and the critic, with fresh parameters; what probes see is its ``x_encoder``."""
        shape = tuple(data.meta["shape"])
        return PairEncoder(self.architecture, shape, self.channels, self.hidden_dim, self.embedding_dim, self.critic)

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields the mean objective and probes' metrics after every ``report_every``."""
        network = self.build_model(run.data).to(run.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        model = self.prepare(network, run)
        run.restore(model=network, optimizer=optimizer)
        for number in run.rounds(self.rounds):
            means = Means()
            for _ in self.steps(number):
                set_rate(optimizer, self.learning_rate, self.weight_decay)
                loss, _ = self.objective(model, self.batch(run), self.weight_values())
                descend(loss, optimizer)
                means.add(loss=loss)
            yield means.metrics() | self.judge(network, run)

    def batch(self, run: Run) -> Batch:
        """This worker's share of a mini-batch, drawn with replacement."""
        x, y, factors = run.tensors(run.data.train)
        rows = run.draw(len(x), self.batch_size)
        stream = run.generator("between", run.device)
        share = torch.rand(len(rows), generator=stream, device=run.device)
        order = torch.randperm(len(rows), generator=stream, device=run.device)
        return Batch(unit(x[rows]), unit(y[rows]), factors[rows], share, order)

    def judge(self, network: Any, run: Run) -> Metrics:
        """Metrics of probes fitted to training rows."""
        x, _, factors = (tensor[: self.probed] for tensor in run.tensors(run.data.train))
        probes = LinearProbes(self._represent(network, x), factors, tuple(run.data.meta["classes"]))

        def evaluate(split: TensorDataset) -> Metrics:
            x, _, factors = (tensor[: self.probed] for tensor in run.tensors(split))
            accuracies = probes.accuracies(self._represent(network, x), factors)
            return {"accuracy": accuracies.mean().item(), "worst_accuracy": accuracies.min().item()}

        return run.judge(evaluate)

    def hidden(self, run: Run, count: int) -> Hidden:
        """φ(x) of first views; labels are those of the first factor."""
        x, _, factors = run.tensors(run.data.validation)
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(self._represent(run.network, x[rows]), x[rows], factors[rows, 0])

    def _represent(self, network: Any, x: Tensor) -> Tensor:
        """φ(x) ``[N, d]``."""
        with torch.no_grad():
            return torch.cat([network.x_encoder(unit(part)) for part in x.split(EVALUATION_BATCH)])
