"""The task: learn a proximal operator from noisy samples of a prior, and judge it against the one of the prior's logarithm."""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.proximal.inversion import invert_scalar, regularizer
from regbench.methods.shared.proximal.potentials import DensePotential
from regbench.methods.training import Means, StepMethod, descend, set_rate

TRACK = Track(
    name="prior_recovery",
    help="a proximal operator from samples of a known prior, judged by its distance to the prior's own, and the regularizer's",
    metrics=(Metric("operator_error", "min"), Metric("regularizer_error", "min")),
    data=("laplace_samples",),
    baseline="posterior_median",
    smoke={"iterations": 8, "report_every": 4, "batch_size": 32, "hidden_units": 5, "num_layers": 2},
)


@dataclass(frozen=True)
class Batch:
    """Samples with noise ``[B, D]``, the samples, and the number of the step, from 0."""

    noisy: Tensor
    clean: Tensor
    step: int


class PriorRecoveryMethod(StepMethod):
    """Trains f = ∇ψ, ψ a dense convex network, on y = x + σ ε with fresh noise; a method says by which loss.

    Judged in double precision: the root mean squared distance of f to the prior's proximal operator, and that of the
    regularizer, less its least value, to -σ² log p. ``inversion_residual`` is the largest |f(y) - x| where the latter is
    evaluated.
    """

    track: ClassVar[Track] = TRACK

    iterations: int = hyperparameter(2800, ge=1, help="steps")
    report_every: int = hyperparameter(700, ge=1, help="steps in one round")
    batch_size: int = hyperparameter(500, ge=1, help="samples in a mini-batch, over all workers; in the paper 2,000")
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="of Adam, at the start")
    hidden_units: int = hyperparameter(50, ge=1, help="width of the network")
    num_layers: int = hyperparameter(4, ge=1, help="hidden-to-hidden layers")
    softplus_beta: float = hyperparameter(10.0, gt=0, help="β, how close the activation is to a rectifier")

    @abstractmethod
    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The scalar to minimize, and f(y)."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """The factor on the learning rate of a step, from 0."""

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields the mean loss and both errors after every ``report_every``."""
        samples, sigma = run.tensors(run.data.train)[0], run.data.meta["sigma"]
        network = DensePotential(samples.shape[1], self.hidden_units, self.num_layers, self.softplus_beta).to(run.device)
        network.project()
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        model, weights = run.prepare(network), self.weight_values()
        run.restore(network=network, optimizer=optimizer)
        for number in run.rounds(self.rounds):
            means = Means()
            for step in self.steps(number):
                clean = samples[run.draw(len(samples), self.batch_size)]
                noise = torch.randn(clean.shape, generator=run.generator("noise", run.device), device=run.device)
                set_rate(optimizer, self.learning_rate * self.rate(step - 1))
                loss, _ = self.objective(model, Batch(clean + sigma * noise, clean, step - 1), weights)
                descend(loss, optimizer)
                network.project()
                means.add(loss=loss)
            exact = copy.deepcopy(network).double()
            yield means.metrics() | run.judge(partial(evaluate, exact, run=run))

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the last layer is given of the points at which the operator is judged."""
        y = run.tensors(run.data.validation)[0].float()
        y = y[fixed_rows(len(y), count, run.device)]
        return Hidden(penultimate(run.network, y), y, None)


def evaluate(network: DensePotential, split: TensorDataset, run: Run) -> Metrics:
    """Both errors of a network in double precision."""
    y, operator, x, wanted = run.tensors(split)
    inverse = invert_scalar(network, x)
    with torch.no_grad():
        found, back = network(y), network(inverse)
    value = regularizer(network, x, inverse)[:, None]
    return {
        "operator_error": (found - operator).square().mean().sqrt().item(),
        "regularizer_error": (value - value.min() - wanted).square().mean().sqrt().item(),
        "inversion_residual": (back - x).abs().max().item(),
    }
