"""Deep clustering in stages: an autoencoder is trained first, then what a method clusters by."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.clustering.autoencoder import Architecture, Autoencoder, reconstruction_loss
from regbench.methods.clustering.task import ClusteringMethod, judge, k_means
from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.method import Metrics, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import MixedPrecisionMethod, descend, set_rate, span

# Of the images, those on which the first stages are told when to stop.
HELD_OUT = 0.1
EVALUATION_BATCH = 512


class Clusterer(nn.Module):
    """A network of the track: an autoencoder, and what clusters its embeddings."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    @property
    def clustering(self) -> nn.Module:
        """The part that is trained after the pretraining; all of it, for most methods."""
        return self


@dataclass
class Training:
    """One training, as its stages see it.

    Attributes:
        run: the outside.
        x: all images ``[N, C, H, W]``.
        clusters: K.
        network: the network itself.
        autoencoder, model: its autoencoder, and what is trained after it, as they are trained.
        optimizer: of all parameters, forgotten at the start of each stage.
        everything, learned, held: rows of all images, and their two parts in the first stages.
        progress: the stage, from 0, epochs done in it, the best value that its end depends on, epochs since, and the loss.
        memory: tensors that the method remembers.
        best: parameters at the best value.
    """

    run: Run
    x: Tensor
    clusters: int
    network: Any
    autoencoder: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    everything: TensorDataset
    learned: TensorDataset
    held: Tensor
    progress: dict[str, Any] = field(default_factory=lambda: {"stage": 0, "epoch": 0, "best": 0.0, "stale": 0, "loss": 0.0})
    memory: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    def epoch(self, rows: TensorDataset, batch_size: int, loss_of: Callable[[Tensor], Tensor]) -> None:
        """A pass over some rows in mini-batches, a step of descent each; ``loss_of`` takes their numbers ``[B]``."""
        self.network.train()
        losses = []
        for batch, _ in self.run.loader(rows, batch_size):
            loss = loss_of(batch)
            descend(loss, self.optimizer)
            losses.append(loss.detach())
        self.progress["loss"] = torch.stack(losses).mean().item()

    def over(self, rows: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What a function of images ``[B, C, H, W]`` gives for some rows, in evaluation mode and without gradient."""
        self.network.eval()
        with torch.no_grad():
            return torch.cat([function(self.x[part]) for part in rows.split(EVALUATION_BATCH)])

    def embeddings(self) -> Tensor:
        """Clean embeddings of all images ``[N, D]``."""
        return self.over(self.everything.tensors[0].to(self.x.device), self.network.autoencoder.encoder)

    def tells(self, value: float, patience: int) -> bool:
        """Takes a value that should be small; whether it has not become smaller for more than ``patience`` epochs in a row."""
        self.progress["stale"] += 1
        if not self.best or value < self.progress["best"]:
            self.progress |= {"best": value, "stale": 0}
            self.best.update({name: value.clone() for name, value in self.network.state_dict().items()})
        return self.progress["stale"] > patience

    def go_on(self) -> None:
        """Ends a stage: parameters are what they were at its best, and nothing else is left of it."""
        if self.best:
            self.network.load_state_dict(self.best)
        self.best.clear()
        self.optimizer.state.clear()
        self.progress |= {"stage": self.progress["stage"] + 1, "epoch": 0, "stale": 0}


class DeepClusteringMethod(MixedPrecisionMethod, ClusteringMethod):
    """Trains an autoencoder that undoes dropout, with as many units in its bottleneck as there are clusters, then clusters.

    A stage ends after its epochs, or earlier where it has come to an end by itself; the next one follows at once, with a fresh
    optimizer, and what is left of the planned rounds after the last one repeats its result. The autoencoder's own stage is told
    when to stop by the reconstruction of a tenth of the images, without noise, and keeps the best epoch's parameters.

    **A method must write** ``build_model``, ``stages`` and ``clusters``.
    """

    architecture: Architecture = hyperparameter(
        "paper", help="kernels of the autoencoder: paper (4 and 5), or small (3, and 4 back), for sides of a multiple of 4"
    )
    channels: int = hyperparameter(50, ge=1, help="channels of the autoencoder's convolutions")
    dropout: float = hyperparameter(
        0.1, ge=0, lt=1, help="share of the inputs and of the first layer that the noisy pathway drops"
    )
    hidden_reconstruction_weight: float = hyperparameter(
        1.0, ge=0, help="weight of the inner layers' reconstruction; 0.1 in DEPICT's released code"
    )
    pretraining_epochs: int = hyperparameter(60, ge=1, help="most epochs of the autoencoder's own training")
    pretraining_patience: int = hyperparameter(100, ge=0, help="epochs in a row without improvement after which it ends")
    epochs: int = hyperparameter(60, ge=1, help="most epochs of the last stage")
    epochs_per_round: int = hyperparameter(10, ge=1, help="epochs after which clusters are judged")
    restarts: int = hyperparameter(40, ge=1, help="starts of k-means, of which the best counts")
    batch_size: int = hyperparameter(100, ge=1, help="images in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(1e-4, gt=0, help="of Adam")

    @abstractmethod
    def build_model(self, data: Data) -> Clusterer:
        """The network, with fresh parameters."""

    @property
    @abstractmethod
    def stages(self) -> tuple[tuple[Callable[[Training], bool], int], ...]:
        """The stages: what trains an epoch and says whether the stage has come to its end, and the most epochs of each."""

    @abstractmethod
    def clusters(self, training: Training) -> Tensor:
        """The cluster of each image as things stand, int64 ``[N]``."""

    @property
    def planned_epochs(self) -> int:
        """Most epochs of all stages."""
        return sum(epochs for _, epochs in self.stages)

    @property
    def rounds(self) -> int:
        """One metrics mapping per ``epochs_per_round`` planned epochs."""
        return -(-self.planned_epochs // self.epochs_per_round)

    def build_autoencoder(self, data: Data) -> Autoencoder:
        """The autoencoder, with fresh parameters."""
        return Autoencoder(self.architecture, data.meta["shape"], self.channels, data.meta["classes"], self.dropout)

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains stage by stage, and yields the last loss and validation metrics after every ``epochs_per_round`` epochs."""
        training = self._start(run)
        for number in run.rounds(self.rounds):
            for _ in span(number, self.epochs_per_round, self.planned_epochs):
                self._advance(training)
            yield {"train/loss": training.progress["loss"]} | judge(self.clusters(training), run)

    def hidden(self, run: Run, count: int) -> Hidden:
        """Clean embeddings of images whose labels the validation split knows."""
        _, labels, known = run.tensors(run.data.validation)
        rows = fixed_rows(len(known), count, run.device)
        x = run.tensors(run.data.train)[0][known[rows]]
        return Hidden(run.network.autoencoder.encoder(x), x, labels[rows])

    def _start(self, run: Run) -> Training:
        (x,) = run.tensors(run.data.train)
        network = self.build_model(run.data).to(run.device)
        order = torch.randperm(len(x), generator=run.generator("held out", shared=True))
        held, learned = order.to(run.device).tensor_split([max(1, round(HELD_OUT * len(x)))])
        training = Training(
            run,
            x,
            run.data.meta["classes"],
            network,
            run.prepare(network.autoencoder, mixed_precision=self.mixed_precision),
            run.prepare(network.clustering, mixed_precision=self.mixed_precision),
            torch.optim.Adam(network.parameters(), lr=self.learning_rate),
            TensorDataset(torch.arange(len(x))),
            TensorDataset(learned),
            held,
        )
        run.restore(
            model=network,
            optimizer=training.optimizer,
            progress=training.progress,
            memory=training.memory,
            best=training.best,
        )
        training.memory |= {name: value.to(run.device) for name, value in training.memory.items()}
        return training

    def _advance(self, training: Training) -> None:
        """Trains one epoch of the stage that it is in; after the last one, none."""
        stage = training.progress["stage"]
        if stage == len(self.stages):
            return
        train_epoch, most = self.stages[stage]
        set_rate(training.optimizer, self.learning_rate)
        ended = train_epoch(training)
        training.progress["epoch"] += 1
        if ended or training.progress["epoch"] >= most:
            training.go_on()

    def pretrain(self, training: Training) -> bool:
        """An epoch of the autoencoder's own training, by reconstruction from noise; ended without improvement for long."""
        hidden = self.hidden_reconstruction_weight

        def loss_of(rows: Tensor) -> Tensor:
            x = training.x[rows]
            return reconstruction_loss(x, training.autoencoder(x), hidden)

        def clean(x: Tensor) -> Tensor:
            return len(x) * reconstruction_loss(x, training.network.autoencoder(x), hidden)[None]

        training.epoch(training.learned, self.batch_size, loss_of)
        return training.tells(training.over(training.held, clean).sum().item(), self.pretraining_patience)

    def embedded_means(self, training: Training) -> tuple[Tensor, Tensor]:
        """Clusters ``[N]`` and means ``[K, D]`` by k-means on clean embeddings, the first worker's for all."""
        seed = training.run.numpy_seed("k-means")
        labels, means = k_means(training.embeddings(), training.clusters, self.restarts, seed)
        gather = training.run.gather
        return gather(labels)[: len(labels)], gather(means)[: len(means)]
