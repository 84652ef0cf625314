"""The certified task: train classifiers under Gaussian noise, then certify their vote. Methods change objective and parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from regbench.methods.certified import networks
from regbench.methods.certified.certificates import Certificates, certified_radius, lower_bound
from regbench.methods.certified.smoothing import Fill, Partition, Parts, noisy_parts, partition_masks, votes
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.augmentation import AUGMENTATION_HELP, Augmentation, augment
from regbench.methods.training import Means, MixedPrecisionMethod, descend, set_rate, span

# Radii at which the certified accuracy is reported.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)

TRACK = Track(
    name="certified",
    help="one label per image that provably no small perturbation changes, judged by how long those are",
    metrics=(
        Metric("average_certified_radius", "max"),
        *(Metric(f"certified_accuracy_{radius:.2f}", "max") for radius in RADII),
        Metric("accuracy", "max"),
    ),
    data=("digits_16", "cifar10"),
    baseline="randomized_smoothing",
    smoke={"epochs": 3, "report_every": 1, "n0": 20, "n": 100, "certify_stride": 10},
)


@dataclass(frozen=True)
class Batch:
    """A mini-batch under noise.

    Attributes:
        parts: noisy parts of its images ``[P, k B, C, H, W]``, the k draws one after the other.
        y: labels ``[B]``, int64.
        draws: k.
    """

    parts: Tensor
    y: Tensor
    draws: int


class CertifiedMethod(MixedPrecisionMethod):
    """Trains a network under noise and certifies the vote of its predictions under noise.

    The released classifier names the class c that is most probable under noise, P(f(x + σ ε) = c) with ε ~ N(0, I). An image is
    certified in three steps (Cohen, Rosenfeld and Kolter, ICML 2019): ``n0`` votes choose the class, ``n`` fresh ones give a
    lower bound of its probability that holds with probability 1 - ``alpha``, and that gives the radius; see
    ``certificates.certified_radius``. Radii are l2, on the scale of the pixels, for perturbations that may leave [0, 1].
    Votes may come from several networks, each of which sees one part of the pixels; then each bound holds with 1 - α/P.

    The metrics are the average radius, in which wrong and abstained count 0; the share of images that are right with a radius
    above r; and ``accuracy``, the share on which the first n0 votes are right, certified or not. Every ``certify_stride``-th
    image of a split is certified, once every ``report_every`` epochs, always under the same noise.

    A method of the track overrides ``objective`` or ``layout``.
    """

    track: ClassVar[Track] = TRACK

    architecture: networks.Architecture = hyperparameter("mlp", help="network: mlp (2 x 256) or resnet110 (three stages of 18)")
    sigma: float = hyperparameter(
        0.25, gt=0, may_change=True, help="standard deviation of the noise, in training and certification, pixels in [0, 1]"
    )
    num_noise: int = hyperparameter(1, ge=1, may_change=True, help="noise draws for each training image and step")
    pretraining_epochs: int = hyperparameter(
        0, ge=0, help="passes with cross-entropy on whole images without noise, from whose network the others start"
    )
    epochs: int = hyperparameter(60, ge=1, help="passes over the training data under noise")
    batch_size: int = hyperparameter(64, ge=1, help="mini-batch size over all workers, noise draws not counted")
    learning_rate: float = hyperparameter(
        2e-3, gt=0, may_change=True, help="of Adam; x0.1 after 62.5 % and 87.5 % of either stage's epochs"
    )
    augmentation: Augmentation = hyperparameter("none", help=AUGMENTATION_HELP)
    n0: int = hyperparameter(100, ge=1, help="votes of each network that choose an image's class")
    n: int = hyperparameter(2000, ge=1, help="votes of each network that bound its probability")
    alpha: float = hyperparameter(1e-3, gt=0, lt=1, help="probability with which a certificate may be wrong")
    certify_stride: int = hyperparameter(3, ge=1, help="one of how many images of a split is certified")
    report_every: int = hyperparameter(30, ge=1, help="epochs in one round, after which the split is certified")

    @property
    def rounds(self) -> int:
        """One metrics mapping per ``report_every`` epochs of both stages."""
        return -(-(self.pretraining_epochs + self.epochs) // self.report_every)

    @property
    def layout(self) -> tuple[Partition, Fill]:
        """Which parts of an image have a network each, and what fills them."""
        return "whole", "none"

    def objective(self, model: Parts, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps parts ``[P, B, C, H, W]`` to logits ``[P, B, K]``.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, a sum over parts of means over draws and images, and the logits ``[P, k, B, K]``.
        """
        logits = model(batch.parts).unflatten(1, (batch.draws, -1))
        labels = batch.y.repeat(len(logits) * batch.draws)
        return len(logits) * cross_entropy(logits.flatten(0, 2), labels), logits

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains through both stages and yields certificates of the validation split's images each round."""
        masks = partition_masks(self.layout[0], run.data.meta["shape"]).to(run.device)
        whole = networks.build(self.architecture, run.data).to(run.device) if self.pretraining_epochs else None
        parts = networks.PartClassifiers(networks.build(self.architecture, run.data) for _ in masks).to(run.device)
        optimizer = torch.optim.Adam(parts.parameters(), lr=self.learning_rate)
        pretraining = torch.optim.Adam(whole.parameters(), lr=self.learning_rate) if whole is not None else None
        model = self.prepare(parts, run)
        first = None if whole is None else self.prepare(whole, run)
        run.restore(parts=parts, optimizer=optimizer, whole=whole, pretraining=pretraining)
        for number in run.rounds(self.rounds):
            metrics: Metrics = {}
            for epoch in span(number, self.report_every, self.pretraining_epochs + self.epochs):
                if whole is not None and first is not None and pretraining is not None and epoch <= self.pretraining_epochs:
                    set_rate(pretraining, self._rate((epoch - 1) / self.pretraining_epochs))
                    metrics = self._pretrain_epoch(first, pretraining, run)
                    run.average_buffers(whole)
                    for network in parts:
                        network.load_state_dict(whole.state_dict())
                else:
                    set_rate(optimizer, self._rate((epoch - 1 - self.pretraining_epochs) / self.epochs))
                    metrics = self._train_epoch(model, masks, optimizer, run)
                    run.average_buffers(parts)
            parts.eval()
            yield metrics | run.judge(lambda split: self._judge(parts, masks, split, run))

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the last layers of all parts' networks are given, side by side, without noise."""
        x, y = run.tensors(run.data.validation)[:2]
        rows = fixed_rows(len(x), count, run.device)
        masks = partition_masks(self.layout[0], run.data.meta["shape"]).to(run.device)
        parts = noisy_parts(x[rows], torch.zeros_like(x[rows]), masks, 0.0, self.layout[1])
        found = [penultimate(network, part) for network, part in zip(run.part("parts"), parts, strict=True)]
        return Hidden(torch.cat(found, 1), x[rows], y[rows])

    def _train_epoch(self, model: nn.Module, masks: Tensor, optimizer: torch.optim.Adam, run: Run) -> Metrics:
        """One pass under noise; returns the mean objective of this worker's batches."""
        model.train()
        weights, generator, means = self.weight_values(), run.generator("noise", run.device), Means()
        for x, y, _ in run.loader(run.data.train, self.batch_size):
            many = augment(x, self.augmentation, run).repeat(self.num_noise, 1, 1, 1)
            noise = torch.randn(many.shape, generator=generator, device=run.device)
            batch = Batch(noisy_parts(many, noise, masks, self.sigma, self.layout[1]), y, self.num_noise)
            loss, _ = self.objective(model, batch, weights)
            descend(loss, optimizer)
            means.add(loss=loss)
        return means.metrics()

    def _pretrain_epoch(self, model: nn.Module, optimizer: torch.optim.Adam, run: Run) -> Metrics:
        """One pass over whole images without noise; returns the mean cross-entropy of this worker's batches."""
        model.train()
        means = Means()
        for x, y, _ in run.loader(run.data.train, self.batch_size):
            loss = cross_entropy(model(augment(x, self.augmentation, run)), y)
            descend(loss, optimizer)
            means.add(loss=loss)
        return means.metrics()

    def _rate(self, done: float) -> float:
        """The learning rate when that share of a stage's epochs is done."""
        return self.learning_rate * 0.1 ** ((done >= 0.625) + (done >= 0.875))

    def _judge(self, parts: Parts, masks: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of certificates on a split, names without the split's prefix."""
        x, y = (tensor[:: self.certify_stride] for tensor in run.tensors(split)[:2])
        # The same noise for every worker, round and resumed run.
        generator = torch.Generator(run.device).manual_seed(run.numpy_seed(f"certification/{run.split_name(split)}"))
        return self.evaluate(self.certify(parts, x, masks, run.data.meta["classes"], generator), y.cpu().numpy())

    def certify(self, parts: Parts, x: Tensor, masks: Tensor, classes: int, generator: torch.Generator) -> Certificates:
        """Certificates of images ``[N, C, H, W]``; each is wrong with probability at most ``alpha``.

        Args:
            parts: the parts' classifiers, in evaluation mode.
            x: the images.
            masks: of the parts ``[P, H, W]``.
            classes: K.
            generator: draws the noise.
        """
        choosing, bounding = (
            votes(parts, x, masks, self.sigma, self.layout[1], samples=samples, classes=classes, generator=generator)
            for samples in (self.n0, self.n)
        )
        prediction = choosing.sum(0).argmax(1)  # [N]
        counts = bounding.gather(2, prediction.expand(len(masks), -1)[:, :, None])[:, :, 0].cpu().numpy()  # [P, N]
        radius = certified_radius(lower_bound(counts, self.n, self.alpha / len(masks)), [self.sigma] * len(masks))
        return Certificates(prediction.cpu().numpy(), counts, self.n, radius)

    def evaluate(self, found: Certificates, labels: np.ndarray) -> Metrics:
        """Metrics of certificates against labels ``[N]``, names without a split's prefix."""
        right = found.prediction == labels
        radius = np.where(right, found.radius, 0.0)
        return {
            "average_certified_radius": float(radius.mean()),
            **{f"certified_accuracy_{least:.2f}": float((radius > least).mean()) for least in RADII},
            "accuracy": float(right.mean()),
        }
