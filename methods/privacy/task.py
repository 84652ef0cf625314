"""The privacy task: train a classifier, then attack what it answers. Methods change objective, network, training or answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.privacy import networks
from regbench.methods.privacy.inversion import (
    Answers,
    ask,
    attackers_prior,
    hit_rate,
    invert_by_gradient,
    isolated,
    judge,
    learn_inversion,
)
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.private import PrivateData
from regbench.methods.training import Means, NetworkMethod, descend

TRACK = Track(
    name="privacy",
    help="one label per image, judged by its accuracy and by what attackers reconstruct of the training images",
    metrics=(
        Metric("protected_error", "max"),
        Metric("accuracy", "max"),
        Metric("inversion_error", "max"),
        Metric("averaged_inversion_error", "max"),
        Metric("hit_rate", "min"),
        Metric("gradient_hit_rate", "min"),
    ),
    data=("private_digits", "private_fashion_mnist", "private_celeba"),
    baseline="undefended",
    smoke={
        "epochs": 3,
        "report_every": 1,
        "decoder_epochs": 2,
        "prior_steps": 10,
        "judge_epochs": 2,
        "attack_steps": 3,
        "attack_targets": 10,
    },
    trade_off=("averaged_inversion_error", "accuracy"),
)


@dataclass(frozen=True)
class Batch:
    """A mini-batch: images ``[B, C, H, W]`` and labels ``[B]``, int64."""

    x: Tensor
    y: Tensor


class PrivacyMethod(NetworkMethod):
    """Trains a classifier of private images and attacks it.

    Two attackers have images of their own, but none of the private ones, and may ask the model anything:

    - a black-box attacker trains a decoder from answers to images on its own images. ``inversion_error`` is its mean squared
      error on private images, ``averaged_inversion_error`` that of a patient one who averages ``queries`` answers to each
      image, and ``hit_rate`` how often an independent classifier sees the right class in a reconstruction (the more
      successful of both);
    - a white-box attacker follows the model's gradient through a generator of such images to what the model takes for a class;
      ``gradient_hit_rate`` is how often the independent classifier agrees.

    Attackers are trained from scratch at every report. ``protected_error`` is the smaller of both errors, less what the
    accuracy lacks to ``accuracy_floor``: a model that says nothing is private and useless. Validation attacks the even training
    images, testing the odd ones. Attackers know the defense: what can be undone of an answer, they undo.

    A method of the track may override ``build_model``, ``objective``, ``train_epoch``, ``answer`` and ``undo``.
    """

    track: ClassVar[Track] = TRACK

    architecture: networks.Architecture = hyperparameter(
        "mlp", help="classifier: mlp (a layer of 128), cnn (four convolutions) or vgg16_bn"
    )
    epochs: int = hyperparameter(60, ge=1, help="passes over the training images")
    batch_size: int = hyperparameter(64, ge=2, help="mini-batch size over all workers")
    optimizer: Literal["adam", "sgd"] = hyperparameter("adam", help="adam, or sgd with momentum 0.9")
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="initial learning rate")
    schedule: Literal["constant", "step"] = hyperparameter(
        "constant", help="of the learning rate: constant, or x0.2 at 40 % and 70 %"
    )
    weight_decay: float = hyperparameter(0.0, ge=0, may_change=True, help="L2 penalty")
    accuracy_floor: float = hyperparameter(0.95, ge=0, le=1, help="accuracy below which protected_error is reduced")
    report_every: int = hyperparameter(60, ge=1, help="epochs in one round, after which the model is attacked")
    decoder_epochs: int = hyperparameter(80, ge=1, help="passes of the black-box attacker over its images")
    queries: int = hyperparameter(10, ge=1, help="answers that the patient attacker averages")
    prior_steps: int = hyperparameter(1500, ge=1, help="steps of the critic in training the white-box attacker's generator")
    latent_dim: int = hyperparameter(32, ge=1, help="size of that generator's latent vector")
    attack_steps: int = hyperparameter(150, ge=1, help="steps along the gradient")
    attack_restarts: int = hyperparameter(5, ge=1, help="starts of the white-box attacker")
    attack_targets: int = hyperparameter(50, ge=1, help="images that it seeks, of one class after the other")
    judge_epochs: int = hyperparameter(30, ge=1, help="passes in training the independent classifier")

    @property
    def epochs_per_round(self) -> int:
        """``report_every``: attackers take longer than an epoch."""
        return self.report_every

    def objective(self, model: nn.Module, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, dict[str, Tensor]]:
        """The training objective of one mini-batch, as a pure function of its arguments and torch's random numbers.

        Args:
            model: what ``build_model`` gave, possibly wrapped.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and facts, whose means over an epoch are recorded.
        """
        return cross_entropy(model(batch.x), batch.y), {}

    def build_model(self, data: Data) -> nn.Module:
        """The network, with fresh parameters."""
        return networks.Classifier(self.architecture, data.meta["shape"], data.meta["classes"])

    def answer(self, model: nn.Module, x: Tensor) -> Tensor:
        """What the released model answers to images ``[B, C, H, W]``: logits ``[B, K]``, differentiable in the images."""
        return model(x)

    def undo(self, answers: Tensor) -> Tensor:
        """What an attacker who knows the defense makes of answers ``[B, K]``, averaged or not, before it decodes them."""
        return answers

    def build_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam, or SGD with momentum."""
        if self.optimizer == "adam":
            return torch.optim.Adam(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=0.9, weight_decay=self.weight_decay)

    def rate(self, epoch: int) -> float:
        """The schedule."""
        done = (epoch - 1) / self.epochs
        return 0.2 ** ((done >= 0.4) + (done >= 0.7)) if self.schedule == "step" else 1.0

    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Batch]:
        """Mini-batches of images and labels."""
        for x, y, _ in run.loader(split, self.batch_size):
            yield Batch(x, y)

    def train_epoch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, split: TensorDataset, epoch: int, run: Run
    ) -> Metrics:
        """One pass over images; returns the means of the objective and its facts over this worker's batches."""
        model.train()
        weights, means = self.weight_values(), Means()
        for batch in self.batches(split, epoch, run):
            loss, facts = self.objective(model, batch, weights)
            descend(loss, optimizer)
            means.add(**facts, loss=loss)
        return means.metrics()

    def evaluate(self, network: nn.Module, split: TensorDataset, run: Run) -> Metrics:
        """Accuracy on a split and the success of the attacks, names without the split's prefix."""
        data, name = run.data, run.split_name(split)
        if not isinstance(data, PrivateData):
            raise ConfigError(f"{data.name} has no images for an attacker: choose one of {', '.join(TRACK.data)}")
        x, y = run.tensors(split)[:2]
        private, labels = (tensor[name == "test" :: 2] for tensor in run.tensors(data.train)[:2])
        own = run.tensors(data.auxiliary)[0]

        def answers(images: Tensor) -> Tensor:
            return self.answer(network, images)

        # Both before the numbers of the attacks are drawn, because a process keeps them.
        judging = judge(data, self.architecture, self.judge_epochs, run.device)
        prior = attackers_prior(data, self.architecture, self.latent_dim, self.prior_steps, run.device)
        # The same numbers for every worker, round and resumed run.
        with isolated(run.numpy_seed(f"attack/{name}"), run.device):
            accuracy = (ask(answers, x, 1).argmax(1) == y).double().mean().item()
            errors, hits = zip(
                *(self._decode(answers, own, private, labels, judging, q) for q in (1, self.queries)), strict=True
            )
            wanted = torch.arange(self.attack_targets, device=run.device) % data.meta["classes"]
            found = invert_by_gradient(
                answers, prior, wanted, self.latent_dim, steps=self.attack_steps, restarts=self.attack_restarts
            )
        return {
            "protected_error": min(errors) - max(0.0, self.accuracy_floor - accuracy),
            "accuracy": accuracy,
            "inversion_error": errors[0],
            "averaged_inversion_error": errors[1],
            "hit_rate": max(hits),
            "gradient_hit_rate": hit_rate(judging, found, wanted),
        }

    def _decode(
        self, answers: Answers, own: Tensor, private: Tensor, labels: Tensor, judging: nn.Module, queries: int
    ) -> tuple[float, float]:
        """Mean squared error and hit rate of a decoder on private images."""
        found = learn_inversion(
            lambda images: self.undo(ask(answers, images, queries)), own, self.architecture, epochs=self.decoder_epochs
        )(private)
        return (found - private).square().double().mean().item(), hit_rate(judging, found, labels)
