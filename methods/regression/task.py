"""The regression task: one loop that every method of the track shares. A method overrides only what its paper changes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.metrics import added_metrics
from regbench.methods.regression.attacks import fgsm, pgd
from regbench.methods.regression.kernels import cs_divergence, log_kernel, normalized_cs_qmi
from regbench.methods.regression.network import Bottleneck, Encoding, perceptron
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.factories import MLP, Architecture, is_foreign, make
from regbench.methods.training import NetworkMethod

TRACK = Track(
    name="regression",
    help="one real target through a bottleneck, judged by error, by how much the bottleneck compresses, and under attack",
    metrics=(
        Metric("rmse", "min"),
        Metric("qmi", "min"),
        Metric("information", "max"),
        Metric("fgsm_rmse", "min", needs="attack_radius"),
        Metric("pgd_rmse", "min", needs="attack_radius"),
    ),
    data=(
        "diabetes",
        "friedman",
        "california_housing",
        "bike_hour",
        "beijing_pm25",
        "appliances_energy",
        "concrete",
        "energy",
        "yacht",
        "kin8nm",
        "power_plant",
        "wine_quality_red",
    ),
    baseline="mean_squared_error",
    smoke={"epochs": 3, "width": 16, "bottleneck_dim": 4},
    predictions="predictions [N], targets [N]",
)

# The rows of a split from whose pairs divergences are estimated.
EVALUATION_ROWS = 1000

# A step of the released schedule.
STEP_EPOCHS, STEP_FACTOR = 10, 0.6

Model = Callable[[Tensor, Tensor | None], Encoding]


@dataclass(frozen=True)
class Batch:
    """A mini-batch.

    Attributes:
        x: inputs ``[B, d]``.
        y: targets ``[B]``.
        generator: random stream for noise on the code, on the device of ``x``.
    """

    x: Tensor
    y: Tensor
    generator: torch.Generator


class RegressionMethod(NetworkMethod):
    """Trains encoder, bottleneck and decoder with Adam, and validates them after each epoch, without noise on the code.

    A method of the track overrides ``objective``, and ``learned_noise`` where its encoder has a variance. Of the metrics,
    ``qmi`` is the normalized Cauchy-Schwarz mutual information of input and code (kernel widths 1; at least 0, 1 where the code
    is the input, and it may exceed 1): the less, the more is compressed. Noise of training is left out of it: kernels narrower
    than the noise would take it for information.
    ``information`` = log₂(Var y / MSE) / 2, in bits, is about what predictions tell of the target, ``fgsm_rmse`` and
    ``pgd_rmse`` are errors under attacks of ``attack_radius``. Besides, the evaluation records ``cs_divergence`` between the
    distributions of predictions and targets, which a loss may match without matching one with the other.
    """

    track: ClassVar[Track] = TRACK

    architecture: Architecture = hyperparameter(
        "mlp",
        help="encoder: mlp (`layers` of `width`), or one of your own that gives `width` features: a plugin's, module:factory",
    )
    architecture_settings: dict[str, Any] = hyperparameter({}, help="keyword settings of a network of your own")
    layers: int = hyperparameter(2, ge=1, help="ReLU layers of the encoder")
    width: int = hyperparameter(64, ge=1, help="units of a ReLU layer")
    bottleneck_dim: int = hyperparameter(128, ge=1, help="length K of the code t")
    epochs: int = hyperparameter(60, ge=1, help="passes over the training data")
    batch_size: int = hyperparameter(
        64, ge=2, help="mini-batch size over all workers; kernel estimates depend on it, each worker's on its share"
    )
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="of Adam, at the start")
    schedule: Literal["constant", "step"] = hyperparameter(
        "constant", help="learning rate over epochs: constant, or x0.6 every ten epochs (released code)"
    )
    attack_radius: float = hyperparameter(
        0.1, ge=0, help="l-inf radius of the attacks, in standard deviations of the inputs; 0 leaves them out"
    )

    @property
    def learned_noise(self) -> bool:
        """Whether the encoder gives a variance of the code."""
        return False

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Encoding]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps inputs ``[B, d]`` and noise ``[B, K]``, or None, to an encoding.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and the encoding.
        """
        found = model(batch.x, None)
        return nn.functional.mse_loss(found.prediction, batch.y), found

    def noise(self, batch: Batch) -> Tensor:
        """Standard normal noise for the codes of a batch ``[B, K]``."""
        size = (len(batch.x), self.bottleneck_dim)
        return torch.randn(size, dtype=batch.x.dtype, device=batch.x.device, generator=batch.generator)

    @property
    def brings_parts(self) -> bool:
        """Whether its network is one's own."""
        return is_foreign(self.architecture)

    def build_model(self, data: Data) -> nn.Module:
        """The network, with fresh parameters."""
        shape = tuple(data.meta["shape"])
        if self.architecture == MLP:
            encoder: nn.Module = perceptron(shape[0], self.layers, self.width)
        else:
            encoder = make(self.architecture, shape, self.width, self.architecture_settings)
        return Bottleneck(encoder, self.width, self.bottleneck_dim, self.learned_noise)

    def rate(self, epoch: int) -> float:
        """The schedule."""
        return STEP_FACTOR ** ((epoch - 1) // STEP_EPOCHS) if self.schedule == "step" else 1.0

    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Batch]:
        """Mini-batches with the stream of noise on codes."""
        noise = run.generator("code", run.device)
        for x, y, _ in run.loader(split, self.batch_size):
            yield Batch(x, y, noise)

    def hidden(self, run: Run, count: int) -> Hidden:
        """The code without noise; labels are the targets."""
        x, y = run.tensors(run.data.validation)
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(run.network(x[rows]).mean, x[rows], y[rows])

    def evaluate(self, network: nn.Module, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a network in evaluation mode on a split, names without the split's prefix."""
        x, y = run.tensors(split)

        def predict(inputs: Tensor) -> Tensor:
            return network(inputs).prediction

        with torch.no_grad():
            found = network(x)
            error = rmse(found.prediction, y)
            part = slice(EVALUATION_ROWS)
            kernels = (log_kernel(v[part].double(), v[part].double(), 1.0) for v in (x, found.mean))
            prediction, target = (v[part, None].double() for v in (found.prediction, y))
            metrics = {
                "rmse": error,
                "qmi": normalized_cs_qmi(*kernels).item(),
                "information": math.log2(y.double().std(correction=0).item() / max(error, 1e-12)),
                "cs_divergence": cs_divergence(prediction, target, 1.0).item(),
            }
        metrics |= added_metrics(TRACK, found.prediction, y)
        if self.attack_radius:
            for name, attack in (("fgsm_rmse", fgsm), ("pgd_rmse", pgd)):
                moved = attack(predict, x, y, self.attack_radius)
                with torch.no_grad():
                    metrics[name] = rmse(predict(moved), y)
        return metrics


def rmse(prediction: Tensor, y: Tensor) -> float:
    """Root mean squared error of predictions ``[N]``."""
    return (prediction.double() - y.double()).square().mean().sqrt().item()
