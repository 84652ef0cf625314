"""The classification task: one loop that every method of the track shares. A method overrides only what its paper changes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.classification import architectures
from regbench.methods.classification.activations import ACTIVATIONS
from regbench.methods.classification.attacks import EVALUATION_BATCH, robust_accuracy
from regbench.methods.classification.metrics import classification_metrics
from regbench.methods.errors import ConfigError
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.metrics import added_metrics
from regbench.methods.run import Run
from regbench.methods.shared import backbone
from regbench.methods.shared.augmentation import AUGMENTATION_HELP, Augmentation, augment
from regbench.methods.shared.data import Data
from regbench.methods.training import MixedPrecisionMethod, NetworkMethod

TRACK = Track(
    name="classification",
    help="one label per input, judged by accuracy and by how far the confidences can be trusted",
    metrics=(
        Metric("accuracy", "max"),
        Metric("error", "min"),
        Metric("nll", "min"),
        Metric("ece", "min"),
        Metric("aurc", "min"),
        Metric("e_aurc", "min"),
        Metric("robust_accuracy", "max", needs="attack_radius"),
    ),
    data=(
        *("digits", "digits_noisy", "digits_noisy40", "digits_small"),
        *("fashion_mnist", "cifar10", "cifar100", "stl10", "svhn", "mnist_12", "binary_inputs"),
    ),
    baseline="cross_entropy",
    smoke={"epochs": 3, "learner": "maid", "budget": 200, "report_every": 100, "decay": 0.05, "solver_steps": 20},
    predictions="logits [N, K], labels [N]",
)

Logits = Callable[[Tensor], Tensor]


def judged(logits: Tensor, labels: Tensor) -> Metrics:
    """The track's metrics of logits ``[N, K]`` against labels ``[N]``, with those that plugins have added."""
    return classification_metrics(logits, labels) | added_metrics(TRACK, logits, labels)


@dataclass(frozen=True)
class Batch:
    """A mini-batch and its place in training.

    Attributes:
        x: inputs ``[B, *shape]``.
        y: labels ``[B]``, int64.
        index: the rows' indices in the training split ``[B]``, int64.
        classes: number of classes K.
        epoch: the current epoch, from 1.
        epochs: the planned number of epochs.
        memory: what the method remembers across batches (from ``build_memory``), or None.
        generator: random stream for the method's own noise, on the device of ``x``.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    classes: int
    epoch: int
    epochs: int
    memory: nn.Module | None
    generator: torch.Generator


class ClassificationMethod(MixedPrecisionMethod, NetworkMethod):
    """Trains a network by mini-batch gradient descent and validates it after each epoch.

    A method of the track may override ``objective`` (a loss), ``build_model`` (layers), ``build_memory`` and ``remember``
    (state across epochs), ``parameter_groups`` (what the optimizer treats differently), ``evaluate`` (more metrics) and
    ``diagnostics`` (learned quantities worth a curve).
    """

    track: ClassVar[Track] = TRACK
    # Whether it computes with inputs, so that they cannot be tokens.
    numbers_only: ClassVar[bool] = False
    in_batches: ClassVar[bool] = True

    architecture: architectures.Architecture = hyperparameter(
        "mlp",
        help="network: mlp (2 x 256), deep_mlp (10 x 24), tapered_mlp (10-7-5-4-3), cnn (2 convolutions), tiny_vit (2 blocks "
        "of width 32 on 2x2 patches), deit_ti (12 of width 192 on 4x4 patches), resnet18, …34 or …50, preact_resnet18, "
        "wide_resnet34_10; or one of your own: a plugin's, module:factory, timm:NAME, torchvision:NAME, hf:FOLDER",
    )
    architecture_settings: dict[str, Any] = hyperparameter({}, help="keyword settings of a network of your own")
    initial_weights: str | None = hyperparameter(
        None, help="file with a state_dict to start from; the last layer, too, where the shapes fit"
    )
    backbone_rate: float = hyperparameter(
        1.0, ge=0, help="learning rate of all layers but the last, relative to the last one's; 0 keeps them as they are"
    )
    activation: architectures.Activation = hyperparameter("relu", help=f"hidden activation: {', '.join(ACTIVATIONS)}")
    optimizer: Literal["sgd", "adam"] = hyperparameter("sgd", help="sgd (Nesterov momentum 0.9) or adam (decoupled decay)")
    learning_rate: float = hyperparameter(0.05, gt=0, may_change=True, help="initial learning rate")
    schedule: Literal["step", "cosine", "constant"] = hyperparameter(
        "step", help="learning rate over epochs: x0.1 at 50 % and 75 %, half a cosine, or constant"
    )
    weight_decay: float = hyperparameter(5e-4, ge=0, may_change=True, help="L2 penalty of SGD, decoupled decay of Adam")
    augmentation: Augmentation = hyperparameter("none", help=AUGMENTATION_HELP)
    gradient_clip: float | None = hyperparameter(
        None, gt=0, may_change=True, help="largest norm of a step's gradient; None leaves it alone"
    )
    attack_radius: float = hyperparameter(
        0.0, ge=0, help="l-inf radius of the attack under which robust_accuracy is measured; 0 leaves it out"
    )

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps inputs ``[B, *shape]`` to logits ``[B, K]``.
            batch: the mini-batch; its memory is read, never written.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and the logits ``[B, K]`` that `remember` gets: of the batch's own inputs, or of mixtures.
        """
        logits = model(batch.x)
        return nn.functional.cross_entropy(logits, batch.y), logits

    def build_model(self, data: Data) -> nn.Module:
        """The network, with fresh parameters."""
        shape, classes = tuple(data.meta["shape"]), data.meta["classes"]
        tokens = "vocabulary" in data.meta
        if tokens and (self.numbers_only or self.augmentation != "none" or self.attack_radius):
            raise ConfigError(f"{self.slug} changes inputs by small steps or mixes them, and those of {data.name} are tokens")
        parts = (self.activation, self.architecture_settings)
        network = architectures.build(self.architecture, shape, classes, *parts, tokens=tokens)
        if self.initial_weights is not None:
            backbone.load_weights(network, self.initial_weights)
        if not self.backbone_rate:
            backbone.freeze(network)
        return network

    def build_memory(self, data: Data) -> nn.Module | None:
        """A module whose buffers are remembered across batches and saved in checkpoints; None for most methods."""
        return None

    def build_parts(self, run: Run) -> dict[str, Any]:
        """The memory."""
        memory = self.build_memory(run.data)
        return {} if memory is None else {"memory": memory.to(run.device)}

    def remember(self, batch: Batch, logits: Tensor, run: Run) -> None:
        """Updates ``batch.memory`` after an optimizer step, from the detached logits ``[B, K]`` of the same forward pass."""

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Optimizer parameter groups: ``rate`` multiplies a group's learning rate, ``weight_decay`` replaces the default."""
        return [{"params": list(model.parameters())}]

    def _groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The parameter groups, the backbone apart where it has a rate of its own."""
        return backbone.split_groups(self.parameter_groups(model), model, self.backbone_rate)

    def stepped_gradients(self, model: nn.Module) -> list[Tensor]:
        """The gradients by which the optimizer steps; ``gradient_clip`` limits their norm."""
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    def evaluate(self, model: nn.Module, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a model in evaluation mode on a split, names without the split's prefix."""
        logits, labels = [], []
        with torch.no_grad():
            for x, y, *_ in run.batches(split, 512):
                logits.append(model(x))
                labels.append(y)
        metrics = judged(torch.cat(logits), torch.cat(labels))
        if self.attack_radius:
            # The same start for every worker, epoch and resumed run.
            start = torch.Generator(run.device).manual_seed(run.numpy_seed("attack"))
            attacked = run.batches(split, EVALUATION_BATCH)
            metrics["robust_accuracy"] = robust_accuracy(model, attacked, self.attack_radius, start)
        return metrics

    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Batch]:
        """Mini-batches, augmented, with the memory and the stream of noise."""
        memory, noise = run.part("memory"), run.generator("objective", run.device)
        for x, y, index in run.loader(split, self.batch_size):
            x = augment(x, self.augmentation, run)
            yield Batch(x, y, index, run.data.meta["classes"], epoch, self.epochs, memory, noise)

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, weights: SimpleNamespace, run: Run
    ) -> Tensor:
        """One step of descent, its gradient clipped where that is asked for; what it saw is remembered."""
        loss, logits = self.objective(model, batch, weights)
        optimizer.zero_grad()
        loss.backward()
        if self.gradient_clip is not None:
            size = nn.utils.get_total_norm(self.stepped_gradients(model))
            nn.utils.clip_grads_with_norm_(model.parameters(), self.gradient_clip, size)
        optimizer.step()
        self.remember(batch, logits.detach(), run)
        return loss.detach()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over ``parameter_groups``."""
        groups = self._groups(model)
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=0.9, nesterov=True, weight_decay=self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay)

    def rate(self, epoch: int) -> float:
        """The schedule."""
        done = (epoch - 1) / self.epochs
        return {
            "step": 0.1 ** ((done >= 0.5) + (done >= 0.75)),
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "constant": 1.0,
        }[self.schedule]

    def set_rates(self, optimizer: torch.optim.Optimizer, network: nn.Module, epoch: int) -> None:
        """Sets each group's learning rate and decay for an epoch from this configuration."""
        for group, own in zip(optimizer.param_groups, self._groups(network), strict=True):
            group["lr"] = self.learning_rate * self.rate(epoch) * own.get("rate", 1.0)
            group["weight_decay"] = own.get("weight_decay", self.weight_decay)
