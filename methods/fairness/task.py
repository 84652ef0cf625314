"""The fairness task: one loop that every method of the track shares. A method overrides only what its paper changes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.fairness import distance_covariance, targets
from regbench.methods.fairness.metrics import accuracy_metrics, jensen_shannon, unfairness
from regbench.methods.fairness.targets import Target
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.metrics import added_metrics
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.factories import MLP, Architecture, is_foreign, make
from regbench.methods.training import NetworkMethod

TRACK = Track(
    name="fairness",
    help="predictions that do not depend on protected attributes, judged by error and by the dependence that is left",
    metrics=(
        Metric("error", "min"),
        Metric("jsd", "min"),
        Metric("ccdcov", "min"),
        Metric("jdcov", "min"),
        Metric("distance_correlation", "min"),
        Metric("uf", "min"),
    ),
    data=("gerrymandering", "compas", "fremtpl2"),
    baseline="plain_prediction",
    smoke={"epochs": 3, "width": 16},
    predictions="predictions [N] (a value, a probability or a mean count), targets [N]",
)

# The rows of a split on which dependence is measured, since that compares all pairs.
EVALUATION_ROWS = 4000

Scores = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """A mini-batch.

    Attributes:
        x: inputs ``[B, m]``, without protected attributes.
        s: protected attributes ``[B, d, p]``, zero in columns that an attribute does not have.
        y: targets ``[B]``.
        exposure: what the mean of a count is proportional to ``[B]``; 1 for other targets.
        widths: the number of columns of each attribute ``[d]``.
        target: what ``y`` is.
    """

    x: Tensor
    s: Tensor
    y: Tensor
    exposure: Tensor
    widths: tuple[int, ...]
    target: Target


class FairnessMethod(NetworkMethod):
    """Trains a multilayer perceptron with Adam on inputs without protected attributes, and validates it after each epoch.

    A method of the track overrides ``objective``. Of the metrics, ``error`` is about accuracy (root mean squared error; for
    probabilities and counts the ranked probability score), the others about dependence of the prediction: ``jsd`` (generalized
    Jensen-Shannon divergence between intersectional groups, in bits), ``uf`` (variance of their means over that of
    all predictions), the covariances ``ccdcov`` and ``jdcov``, and, free of scale, ``distance_correlation``. A constant
    is perfectly fair: look at error and dependence together.
    """

    track: ClassVar[Track] = TRACK

    architecture: Architecture = hyperparameter(
        "mlp", help="network: mlp (`layers` of `width`), or one of your own that gives one output: a plugin's, module:factory"
    )
    architecture_settings: dict[str, Any] = hyperparameter({}, help="keyword settings of a network of your own")
    layers: int = hyperparameter(2, ge=1, help="hidden layers")
    width: int = hyperparameter(64, ge=1, help="units of a hidden layer")
    dropout: float = hyperparameter(0.0, ge=0, lt=1, help="share of hidden units that a training step leaves out")
    epochs: int = hyperparameter(20, ge=1, help="passes over the training data")
    batch_size: int = hyperparameter(
        200, ge=distance_covariance.FEWEST, help="mini-batch size over all workers; each estimates dependence from its share"
    )
    learning_rate: float = hyperparameter(2e-3, gt=0, may_change=True, help="of Adam")

    def objective(self, model: Scores, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps inputs ``[B, m]`` to outputs ``[B]``: a prediction, a logit, or the logarithm of a rate.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and the outputs ``[B]``.
        """
        score = model(batch.x)
        return targets.loss(batch.target, score, batch.y, batch.exposure), score

    @property
    def brings_parts(self) -> bool:
        """Whether its network is one's own."""
        return is_foreign(self.architecture)

    def build_model(self, data: Data) -> nn.Module:
        """The network, with fresh parameters."""
        if self.architecture != MLP:
            return nn.Sequential(make(self.architecture, data.meta["shape"], 1, self.architecture_settings), nn.Flatten(0))
        (features,) = data.meta["shape"]
        sizes = [features] + self.layers * [self.width]
        blocks = [
            nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(self.dropout)) for before, after in pairwise(sizes)
        ]
        return nn.Sequential(*blocks, nn.Linear(self.width, 1), nn.Flatten(0))

    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Batch]:
        """Mini-batches with what the data set tells of attributes and target.

        Raises:
            ConfigError: a worker's share is too small for an estimate of dependence.
        """
        if self.batch_size < distance_covariance.FEWEST * run.world.size:
            raise ConfigError(
                f"batch_size {self.batch_size} is too small for {run.world.size} workers: each needs at least "
                f"{distance_covariance.FEWEST} rows"
            )
        widths, target = tuple(run.data.meta["widths"]), run.data.meta["target"]
        for x, s, y, exposure, _, _ in run.loader(split, self.batch_size):
            yield Batch(x, s, y, exposure, widths, target)

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the last layer is given; labels are the targets."""
        x, _, y = run.tensors(run.data.validation)[:3]
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(penultimate(run.network, x[rows]), x[rows], y[rows])

    def evaluate(self, network: Scores, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a network; dependence on the split's first ``EVALUATION_ROWS`` rows, in float64."""
        x, s, y, exposure, groups = run.tensors(split)
        target = run.data.meta["target"]
        with torch.no_grad():
            score = network(x)
            prediction = targets.response(target, score.double(), exposure.double())
            found = accuracy_metrics(target, prediction, y.double())
            found |= added_metrics(TRACK, prediction, y)
            prediction, s, groups = prediction[:EVALUATION_ROWS], s[:EVALUATION_ROWS].double(), groups[:EVALUATION_ROWS]
            return found | {
                "jsd": jensen_shannon(prediction, groups),
                "ccdcov": distance_covariance.ccdcov(prediction, s).item(),
                "jdcov": distance_covariance.jdcov(prediction, s).item(),
                "distance_correlation": distance_covariance.correlation(prediction, s).item(),
                "uf": unfairness(prediction, groups),
            }
