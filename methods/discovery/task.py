"""The discovery task: images of known and novel classes, labels of some known ones; one loop that every method shares."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.discovery import losses, networks
from regbench.methods.discovery.metrics import discovery_metrics
from regbench.methods.discovery.networks import Backbone, Discoverer, Found
from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.method import Method, Metric, Metrics, Track, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.augmentation import Views, two_views
from regbench.methods.shared.data import Data
from regbench.methods.training import MixedPrecisionMethod, NetworkMethod

TRACK = Track(
    name="discovery",
    help="classes of images of which some are known by labels and some are new, judged on images without labels",
    metrics=(
        Metric("accuracy", "max"),
        Metric("known_accuracy", "max"),
        Metric("novel_accuracy", "max"),
        Metric("forgetting", "min"),
    ),
    data=(
        "digits_discovery",
        "digits_discovery_few",
        "fashion_discovery",
        "omniglot_discovery",
        "cifar10_discovery",
        "cifar100_discovery",
    ),
    baseline="simgcd",
    smoke={
        "epochs": 3,
        "pretraining_epochs": 1,
        "feature_dim": 8,
        "projector_dim": 16,
        "teacher_warmup_epochs": 2,
        "batch_size": 256,
        # Low, so that some rows are confident in so short a training.
        "confidence_threshold": 0.2,
    },
)

EVALUATION_BATCH = 512

Model = Callable[[Tensor], Found]


@dataclass(frozen=True)
class Batch:
    """A mini-batch of B images in two views.

    Attributes:
        x: both views, one after the other ``[2B, C, H, W]``.
        y: labels ``[B]``, int64; known classes come first; -1 where there is none.
        labelled: which images have a label, bool ``[B]``.
        known: how many classes are known.
        epoch: from 1.
        frequencies: what the method remembers of how often classes are predicted ``[1, K]``, or None.
    """

    x: Tensor
    y: Tensor
    labelled: Tensor
    known: int
    epoch: int
    frequencies: Tensor | None


class DiscoveringMethod(Method):
    """What all methods of the track have: a pretrained encoder, which is the same for all of them and all runs."""

    track: ClassVar[Track] = TRACK

    backbone: Backbone = hyperparameter(
        "conv", help="encoder: conv, pretrained here by contrast, or dino_vitb16, whose last block alone learns"
    )
    feature_dim: int = hyperparameter(64, ge=2, help="length of conv's features; its convolutions are half as wide and as wide")
    pretraining_epochs: int = hyperparameter(15, ge=0, help="passes over all training images in the pretraining of conv")
    view_rotation: float = hyperparameter(0.25, ge=0, help="largest rotation of a view, radians")
    view_scale: float = hyperparameter(0.1, ge=0, lt=1, help="largest relative change of a view's size")
    view_shift: float = hyperparameter(2.0, ge=0, help="largest move of a view, pixels")
    view_noise: float = hyperparameter(0.05, ge=0, help="standard deviation of the noise on a view's pixels")
    view_flip: bool = hyperparameter(False, help="whether half of the views are mirrored")

    @property
    def views(self) -> Views:
        """How views are drawn."""
        return Views(self.view_rotation, self.view_scale, self.view_shift, self.view_noise, self.view_flip)

    def build_encoder(self, data: Data) -> tuple[nn.Module, int]:
        """The pretrained encoder, to be trained further, and the length of its features."""
        settings = self.backbone, data, self.views, self.feature_dim, self.pretraining_epochs
        encoder, features = networks.pretrained(*settings)
        return copy.deepcopy(encoder), features


class DiscoveryMethod(DiscoveringMethod, MixedPrecisionMethod, NetworkMethod):
    """Trains an encoder with prototypes of all classes on two views of labelled and unlabelled images: SimGCD's training.

    Half of a mini-batch is labelled on average: images are drawn with replacement, an unlabelled one with n_l / n_u of the
    probability of a labelled one. SGD with momentum; the rate falls from epoch to epoch along half a cosine to a thousandth,
    and biases are not decayed. Prototype k is the one of known class k; how many novel classes there are is known.

    The images to be judged are training images without label: tuning is by the labels of some of them, the test by those of
    the others, each with a matching of its own. ``forgetting`` is how far the accuracy of known classes has fallen from its
    highest value after an earlier epoch.
    """

    memax_weight: float = weight(
        2.0,
        # SimGCD has both: it is not without them that a method is to be compared with it.
        off=2.0,
        ge=0,
        symbol="ε",
        differentiable=True,
        help="weight of the mean prediction's entropy, which is maximized; switched off, it is SimGCD's",
    )
    sup_weight: float = weight(
        0.35,
        off=0.35,
        ge=0,
        le=1,
        symbol="λ",
        differentiable=True,
        help="share of the supervised losses; switched off, it is SimGCD's",
    )
    student_temperature: float = hyperparameter(0.1, gt=0, help="τ_s of predictions")
    teacher_temperature: float = hyperparameter(0.04, gt=0, help="τ_t of the other view's predictions, after the warm-up")
    first_teacher_temperature: float = hyperparameter(0.07, gt=0, help="τ_t in the first epoch")
    teacher_warmup_epochs: int = hyperparameter(30, ge=0, help="epochs over which τ_t falls to its final value")
    teacher_schedule: Literal["linear", "cosine"] = hyperparameter(
        "linear", help="how τ_t falls: linear (released code) or along half a cosine (the paper's words)"
    )
    contrast_temperature: float = hyperparameter(
        1.0, gt=0, help="of the unsupervised contrastive loss; the released code's, where the paper has 0.07"
    )
    sup_contrast_temperature: float = hyperparameter(
        0.07, gt=0, help="of the supervised contrastive loss; the released code's, where the paper has 1"
    )
    projector_dim: int = hyperparameter(128, ge=1, help="width of the projector's hidden layers")
    projection_dim: int = hyperparameter(32, ge=1, help="length of a projection")
    epochs: int = hyperparameter(40, ge=1, help="epochs of as many draws as there are images")
    batch_size: int = hyperparameter(128, ge=1, help="images in a mini-batch, over all workers; each has two views")
    learning_rate: float = hyperparameter(0.05, gt=0, help="of SGD in the first epoch")
    momentum: float = hyperparameter(0.9, ge=0, lt=1, help="of SGD")
    weight_decay: float = hyperparameter(5e-5, ge=0, help="squared-norm decay of all parameters but biases and norms")

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Found]:
        """The training objective of one mini-batch, as a pure function of its arguments; here SimGCD's.

        L_rep + L_cls, where each is (1 - λ) times its unsupervised part plus λ times its supervised one (equations 3 and 5);
        see the functions of ``losses``.
        """
        found = model(batch.x)
        sup = weights.sup_weight
        contrast = losses.unsupervised_contrastive(found.projections, self.contrast_temperature)
        sup_contrast = losses.supervised_contrastive(found.projections, batch.y, batch.labelled, self.sup_contrast_temperature)
        sup_loss = losses.supervised_cross_entropy(found.logits, batch.y, batch.labelled, self.student_temperature)
        clustering = self.clustering(found, batch, weights)
        return (1 - sup) * (contrast + clustering) + sup * (sup_contrast + sup_loss), found

    def clustering(self, found: Found, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """The unsupervised part of L_cls: self-distillation and ε (log K - H(p̄))."""
        temperature = losses.teacher_temperature(
            batch.epoch,
            self.first_teacher_temperature,
            self.teacher_temperature,
            self.teacher_warmup_epochs,
            self.teacher_schedule,
        )
        distillation = losses.self_distillation(found.logits, temperature, self.student_temperature)
        return distillation + weights.memax_weight * losses.mean_entropy_gap(found.logits, self.student_temperature)

    def build_model(self, data: Data) -> nn.Module:
        """The pretrained encoder, with fresh heads."""
        encoder, features = self.build_encoder(data)
        return Discoverer(encoder, features, data.meta["classes"], self.projector_dim, self.projection_dim)

    def build_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """SGD with momentum; the second group of parameters is not decayed."""
        learned = [p for p in network.parameters() if p.requires_grad]
        groups = [{"params": [p for p in learned if p.dim() > 1]}, {"params": [p for p in learned if p.dim() <= 1]}]
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum)

    def build_parts(self, run: Run) -> dict[str, Any]:
        """The highest accuracy of known classes so far, by split."""
        return {"highest": dict[str, float]()}

    def rate(self, epoch: int) -> float:
        """Half a cosine from 1 to a thousandth, which would be reached after the last epoch."""
        return 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / self.epochs))

    def set_rates(self, optimizer: torch.optim.Optimizer, network: nn.Module, epoch: int) -> None:
        """The rate of an epoch, and decay for the first group alone."""
        for group, decay in zip(optimizer.param_groups, (self.weight_decay, 0.0), strict=True):
            group |= {"lr": self.learning_rate * self.rate(epoch), "momentum": self.momentum, "weight_decay": decay}

    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Batch]:
        """Mini-batches of two views of images drawn with replacement, half of them labelled on average."""
        x, y, labelled = run.tensors(split)
        weights = sampling_weights(split.tensors[2])
        memory = run.part("memory")
        for _ in range(max(1, len(y) // self.batch_size)):
            rows = run.draw(len(y), self.batch_size, weights)
            views = two_views(x[rows], self.views.draw, run.generator("views", run.device))
            # A checkpoint puts them on the CPU.
            frequencies = None if memory is None else memory["frequencies"].to(run.device)
            yield Batch(views, y[rows], labelled[rows], run.data.meta["known"], epoch, frequencies)

    def hidden(self, run: Run, count: int) -> Hidden:
        """The encoder's features."""
        x, y = run.tensors(run.data.validation)
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(run.network.encoder(x[rows]), x[rows], y[rows])

    def evaluate(self, network: Model, split: TensorDataset, run: Run) -> Metrics:
        """Accuracies of the prototypes with the largest cosines, and how far that of known classes has fallen."""
        x, y = run.tensors(split)
        with torch.no_grad():
            clusters = torch.cat([network(part).logits.argmax(1) for part in x.split(EVALUATION_BATCH)])
        found = discovery_metrics(clusters, y, run.data.meta["known"])
        highest, name = run.part("highest"), run.split_name(split)
        highest[name] = max(highest.get(name, 0.0), found["known_accuracy"])
        return found | {"forgetting": highest[name] - found["known_accuracy"]}

    def judge(self, network: nn.Module, run: Run) -> Metrics:
        """As always; a run that will be tested follows the test images too, to know in the end what was forgotten of them."""
        network.eval()
        if run.test and not run.last:
            self.evaluate(network, run.data.test, run)
        return super().judge(network, run)


def sampling_weights(labelled: Tensor) -> Tensor:
    """How probably each image is drawn, up to a factor: 1 where it is labelled, n_l / n_u where not; float64 ``[N]``."""
    known = labelled.sum().item()
    return torch.where(labelled, 1.0, known / max(len(labelled) - known, 1)).double()
