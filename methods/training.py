"""How methods train: the pieces of a training, and the forms that most trainings have.

A track's task takes the form that fits it, or puts the pieces together in a ``train`` of its own.
"""

from abc import abstractmethod
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Method, Metrics, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data

# Pieces


def descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """A step of each optimizer along the gradient of a loss."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def set_rate(optimizer: torch.optim.Optimizer, rate: float, weight_decay: float | None = None) -> None:
    """Sets the learning rate of all parameters, and where it is given their decay.

    Both are to follow from the configuration and the place in training. Nothing is read back from the optimizer, so a run that
    resumes, even with another configuration (population-based training), follows its own schedule.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
        if weight_decay is not None:
            group["weight_decay"] = weight_decay


def span(number: int, every: int, total: int) -> range:
    """The steps of a round, both counted from 1, where ``every`` steps make a round and the last one takes what is left."""
    return range((number - 1) * every + 1, min(number * every, total) + 1)


class Means:
    """Means of named scalars over this worker's mini-batches."""

    def __init__(self) -> None:
        self._found: dict[str, list[Tensor]] = {}

    def add(self, **values: Tensor) -> None:
        """Takes the scalars of a mini-batch."""
        for name, value in values.items():
            self._found.setdefault(name, []).append(value.detach())

    def metrics(self) -> Metrics:
        """The means as ``train/…``."""
        return {f"train/{name}": torch.stack(values).mean().item() for name, values in self._found.items()}


# Forms


class NetworkMethod(Method):
    """Trains one network by mini-batch gradient descent, and judges it after each epoch.

    **A track must write** ``build_model``, ``batches``, ``objective`` and ``evaluate``; its methods usually override
    ``objective`` alone.

    **It may write** ``build_optimizer``; ``rate``, a schedule, or all of ``set_rates``; ``step``, for what happens around a
    step of the optimizer; ``build_parts``, for what is remembered across batches; ``diagnostics``; ``epochs_per_round``, where
    judging takes long; or ``train_epoch`` as a whole.
    """

    epochs: int = hyperparameter(30, ge=1, help="passes over the training data")
    batch_size: int = hyperparameter(64, ge=1, help="mini-batch size over all workers")
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="of AdamW")
    weight_decay: float = hyperparameter(0.0, ge=0, may_change=True, help="decoupled decay")

    @property
    def epochs_per_round(self) -> int:
        """After how many epochs the network is judged."""
        return 1

    @property
    def rounds(self) -> int:
        """One metrics mapping per ``epochs_per_round`` epochs."""
        return -(-self.epochs // self.epochs_per_round)

    @abstractmethod
    def build_model(self, data: Data) -> nn.Module:
        """The network, with fresh parameters."""

    @abstractmethod
    def batches(self, split: TensorDataset, epoch: int, run: Run) -> Iterator[Any]:
        """A split's mini-batches in an epoch, from 1, usually those of ``run.loader``; each has its targets as ``y``."""

    @abstractmethod
    def objective(self, model: Any, batch: Any, weights: SimpleNamespace) -> tuple[Tensor, Any]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: the network, possibly wrapped.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and what the model gave.
        """

    @abstractmethod
    def evaluate(self, network: Any, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a network in evaluation mode on a split, names without the split's prefix."""

    def require_parts(self, data: Data) -> None:
        """Refuses what the network cannot be built of."""
        self.build_model(data)

    def build_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

    def build_parts(self, run: Run) -> dict[str, Any]:
        """What else makes up the run's state, by the name under which ``run.part`` finds it."""
        return {}

    def prepare(self, network: nn.Module, run: Run) -> nn.Module:
        """The network as it is trained."""
        return run.prepare(network)

    def diagnostics(self, network: nn.Module) -> Metrics:
        """Learned quantities to record in each round."""
        return {}

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the network's last layer is given; inputs and labels are the split's first two tensors."""
        split = run.data.validation
        x, y = run.rows(split, fixed_rows(len(split), count, run.device))[:2]
        return Hidden(penultimate(run.network, x), x, y)

    def rate(self, epoch: int) -> float:
        """The factor on the learning rate in an epoch, from 1."""
        return 1.0

    def set_rates(self, optimizer: torch.optim.Optimizer, network: nn.Module, epoch: int) -> None:
        """Sets learning rate and decay for an epoch from this configuration; see the function ``set_rate``."""
        set_rate(optimizer, self.learning_rate * self.rate(epoch), self.weight_decay)

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``epochs`` and yields training loss and validation metrics after each, or after each round of them."""
        network = self.build_model(run.data).to(run.device)
        parts = self.build_parts(run)
        optimizer = self.build_optimizer(network)
        model = self.prepare(network, run)
        run.restore(model=network, optimizer=optimizer, **parts)
        for number in run.rounds(self.rounds):
            metrics: Metrics = {}
            for epoch in span(number, self.epochs_per_round, self.epochs):
                self.set_rates(optimizer, network, epoch)
                metrics = self.train_epoch(model, optimizer, run.data.train, epoch, run)
                run.average_buffers(network)
            yield metrics | self.judge(network, run)

    def train_epoch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, split: TensorDataset, epoch: int, run: Run
    ) -> Metrics:
        """One pass over a split; returns ``train/loss``, the mean over this worker's rows of the objective."""
        model.train()
        weights = self.weight_values()
        total, seen = torch.zeros((), device=run.device), 0
        for batch in self.batches(split, epoch, run):
            loss = self.step(model, optimizer, batch, weights, run)
            total, seen = total + loss * len(batch.y), seen + len(batch.y)
        return {"train/loss": total.item() / seen}

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any, weights: SimpleNamespace, run: Run
    ) -> Tensor:
        """One step of descent; returns the mini-batch's objective, without gradient."""
        loss, _ = self.objective(model, batch, weights)
        descend(loss, optimizer)
        return loss.detach()

    def judge(self, network: nn.Module, run: Run) -> Metrics:
        """Validation metrics and diagnostics, in the last round of a run with ``run.test`` also test metrics."""
        network.eval()

        def evaluate(split: TensorDataset) -> Metrics:
            return self.evaluate(network, split, run)

        return run.judge_validation(evaluate) | self.diagnostics(network) | run.judge_test(evaluate)


class MixedPrecisionMethod(Method):
    """Adds a setting to a training: the precision in which its network computes."""

    mixed_precision: bool = hyperparameter(
        False, help="run the network in bfloat16 in training; parameters, losses and evaluation stay in single precision"
    )

    def prepare(self, network: nn.Module, run: Run) -> nn.Module:
        """The network as it is trained, in the precision of the settings."""
        return run.prepare(network, mixed_precision=self.mixed_precision)


class StepMethod(Method):
    """Trains by steps rather than epochs, ``report_every`` of which make a round."""

    iterations: int = hyperparameter(2000, ge=1, help="steps")
    report_every: int = hyperparameter(200, ge=1, help="steps in one round")

    @property
    def rounds(self) -> int:
        """One metrics mapping per ``report_every`` steps."""
        return -(-self.iterations // self.report_every)

    def steps(self, number: int) -> range:
        """The steps of a round, both counted from 1."""
        return span(number, self.report_every, self.iterations)


class Estimator(Method):
    """Is fitted at once: one round, in which nothing iterates and after which nothing remains to be done."""

    @property
    def rounds(self) -> int:
        """One."""
        return 1

    @abstractmethod
    def fit_and_judge(self, run: Run) -> Metrics:
        """Fits to the training split and judges what was found, with ``run.judge``."""

    def train(self, run: Run) -> Iterator[Metrics]:
        """Yields the metrics of the fit."""
        run.restore()
        for _ in run.rounds(1):
            yield self.fit_and_judge(run)
