"""The density task: one loop that fits an unnormalized model to data and noise. Methods change what it minimizes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from pydantic import model_validator
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.density.estimation import (
    LogDensity,
    annealed_log_normalizer,
    grid_log_normalizer,
    in_parts,
    langevin,
)
from regbench.methods.density.networks import EnergyName, Unnormalized
from regbench.methods.density.noise import Noise, NoiseName, fit_noise
from regbench.methods.errors import ConfigError
from regbench.methods.generative.features import feature_network
from regbench.methods.generative.metrics import frechet_distance
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import Means, StepMethod, set_rate

TRACK = Track(
    name="density",
    help="a density known up to its normalizer, judged by likelihood, by telling outliers, and by its samples",
    metrics=(
        Metric("nll", "min"),
        Metric("auroc", "max"),
        Metric("frechet", "min", needs="langevin_steps"),
        Metric("mean_error", "min", needs="target_error"),
        Metric("steps_to_target", "min", needs="target_error"),
    ),
    data=(
        "gaussian_ring",
        "gaussian_mean_1",
        "gaussian_mean_2",
        "gaussian_mean_3",
        "gaussian_mean_5",
        "digit_codes",
        "fashion_mnist_halves",
        "cifar10_halves",
    ),
    baseline="importance_likelihood",
    smoke={"iterations": 12, "report_every": 4, "batch_size": 32, "hidden_dim": 16, "langevin_steps": 3},
)

SAMPLES = 1000
CHAINS = 1000

Model = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Mean(Protocol):
    """A model that estimates a mean."""

    def mean(self) -> Tensor:
        """The estimate ``[D]``, without gradient."""


@dataclass(frozen=True)
class Batch:
    """A mini-batch of data and of noise, and the place of its step in training.

    Attributes:
        x: data ``[B₁, …]``.
        log_noise_x: log q of the data ``[B₁]``.
        noise: samples of q ``[B₂, …]``.
        log_noise: log q of the noise ``[B₂]``.
        ratio: B₂ / B₁.
        step: from 1.
        log_u: logarithm of what the method remembers of the normalizer from the step before; None at the first one.
        gather: concatenates a tensor of all workers.
    """

    x: Tensor
    log_noise_x: Tensor
    noise: Tensor
    log_noise: Tensor
    ratio: int
    step: int
    log_u: Tensor | None
    gather: Callable[[Tensor], Tensor]


class DensityMethod(StepMethod):
    """Fits p = e^h / Z to data, with samples of a noise distribution q of known density.

    A method of the track overrides ``objective``, and may override ``build_model`` and ``turn`` (what is done to a gradient
    before the step). All methods with the same seed see the same data and the same noise.

    The evaluation never uses a method's own estimate of Z: in one and two dimensions it integrates on a grid, otherwise it
    anneals samples of q (``normalizer_share`` is their effective share; where it is small, ``nll`` is not to be relied on).
    Outliers are told by h; ``frechet`` compares Langevin samples, started from q, with data in the features of a classifier of
    the training classes.
    """

    track: ClassVar[Track] = TRACK

    energy: EnergyName = hyperparameter(
        "mlp", help="mlp or conv, each added to log q, or gaussian_mean: normal distributions of unit covariance"
    )
    hidden_dim: int = hyperparameter(64, ge=1, help="width of the hidden layers of mlp, channels of the first layer of conv")
    noise: NoiseName = hyperparameter(
        "gaussian", help="q: gaussian (moments of the data), standard (mean 0, covariance I) or mixture (of Gaussians, fitted)"
    )
    noise_scale: float = hyperparameter(1.0, gt=0, may_change=True, help="multiplies the standard deviation of q")
    noise_components: int = hyperparameter(10, ge=1, help="of a mixture")
    noise_batch_ratio: int = hyperparameter(1, ge=1, may_change=True, help="noise samples for each datum, B₂ / B₁")
    batch_size: int = hyperparameter(128, ge=1, help="data in a mini-batch, B₁, over all workers")
    optimizer: Literal["adam", "sgd"] = hyperparameter("adam", help="adam, or plain gradient steps")
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="η")
    langevin_steps: int = hyperparameter(0, ge=0, help="steps of the chains that generate samples; 0: none are generated")
    langevin_step_size: float = hyperparameter(0.01, gt=0, help="ε of a Langevin step")
    target_error: float = hyperparameter(
        0.0, ge=0, help="distance to the true mean that counts as reached, for gaussian_mean; 0: convergence is not measured"
    )

    @model_validator(mode="after")
    def _mean_is_a_parameter(self) -> Self:
        if self.target_error and self.energy != "gaussian_mean":
            raise ValueError(f"{self.energy} has no mean to converge: set energy to gaussian_mean, or target_error to 0")
        return self

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """What a step minimizes, as a pure function of its arguments.

        Args:
            model: maps samples ``[N, …]`` and their log q ``[N]`` to h ``[N]``; to be called once.
            batch: the mini-batch.
            weights: the method's weights, numbers or scalar tensors.

        Returns:
            The scalar to descend, and the logarithm of what is remembered of the normalizer, without gradient.
        """
        h_x, log_w = split_pass(model, batch)
        log_mean = log_mean_exp(log_w)
        log_u = over_workers(log_mean.detach(), batch)
        return likelihood_surrogate(h_x, log_mean, log_u), log_u

    def build_model(self, data: Data) -> nn.Module:
        """The model, with fresh parameters.

        Raises:
            ConfigError: the energy does not fit the samples.
        """
        return self.unnormalized(data, constant=False)

    def unnormalized(self, data: Data, constant: bool) -> Unnormalized:
        """The model, with or without a learned constant; see ``build_model``."""
        shape = tuple(data.meta["shape"])
        if self.energy == "conv" and (len(shape) != 3 or min(shape[1:]) < 16):
            raise ConfigError(f"conv needs images of at least 16 x 16, not samples of shape {shape}: set energy to mlp")
        if self.target_error and "mean" not in data.meta:
            raise ConfigError(f"the mean of {data.name} is not known: set target_error to 0")
        return Unnormalized(self.energy, shape, self.hidden_dim, constant)

    def turn(self, network: nn.Module, memory: dict[str, Any], weights: SimpleNamespace) -> None:
        """Changes the gradients of a step in place; nothing, for most methods."""

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields training loss and validation metrics after every ``report_every``."""
        (data, _), shape = run.tensors(run.data.train), tuple(run.data.meta["shape"])
        q = self.fit_noise(run)
        network = self.build_model(run.data).to(run.device)
        if self.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        else:
            optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate)
        model, memory = run.prepare(network), dict[str, Any]()
        path: dict[str, Any] = {"reached": torch.tensor(self.iterations + 1), "steps": 0, "sum": torch.zeros(math.prod(shape))}
        run.restore(model=network, optimizer=optimizer, memory=memory, path=path)
        path |= {name: path[name].to(run.device) for name in ("reached", "sum")}
        for number in run.rounds(self.rounds):
            means = Means()
            for step in self.steps(number):
                set_rate(optimizer, self.learning_rate)
                weights = self.weight_values()
                batch = self._batch(data, q, shape, step, memory, run)
                loss, log_u = self.objective(model, batch, weights)
                optimizer.zero_grad()
                loss.backward()
                self.turn(network, memory, weights)
                optimizer.step()
                memory["log_u"] = log_u
                means.add(loss=loss)
                if self.target_error:
                    assert isinstance(network, Mean)
                    self._follow(network, path, step, run.data.meta["mean"])
            yield means.metrics() | self.judge(network, q, path, run)

    def hidden(self, run: Run, count: int) -> Hidden | None:
        """What the last layer of f is given; labels tell outliers. A normal distribution has no network."""
        network = run.network
        if network.f is None:
            return None
        x, outlier = run.tensors(run.data.validation)
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(penultimate(network.f, x[rows]), x[rows], outlier[rows].long())

    def fit_noise(self, run: Run) -> Noise:
        """The noise distribution, on the device."""
        x = run.tensors(run.data.train)[0]
        return fit_noise(self.noise, self.noise_scale, self.noise_components, x, run.numpy_seed("noise"))

    def _batch(self, data: Tensor, q: Noise, shape: tuple[int, ...], step: int, memory: dict[str, Any], run: Run) -> Batch:
        """This worker's share of a mini-batch: data drawn with replacement, and fresh noise."""
        x = data[run.draw(len(data), self.batch_size)]
        noise = q.sample(self.noise_batch_ratio * len(x), run.generator("noise", run.device)).unflatten(1, shape)
        log_u = memory["log_u"].to(run.device) if "log_u" in memory else None
        return Batch(x, q.log_prob(x), noise, q.log_prob(noise), self.noise_batch_ratio, step, log_u, run.gather)

    def _follow(self, network: Mean, path: dict[str, Any], step: int, mean: float) -> None:
        """Notes when the mean came close enough to the true one, and sums it up over the second half of training."""
        theta, reached = network.mean(), path["reached"]
        # Decided on the device, which a step need not wait for.
        path["reached"] = torch.where((theta - mean).norm() < self.target_error, reached.clamp(max=step), reached)
        if step > self.iterations // 2:
            path["sum"], path["steps"] = path["sum"] + theta, path["steps"] + 1

    def judge(self, network: nn.Module, q: Noise, path: dict[str, Any], run: Run) -> Metrics:
        """Validation metrics of a model, in the last round of a run with ``run.test`` also test metrics."""
        return run.judge(lambda split: self.evaluate(network, q, split, path, run))

    def evaluate(self, network: nn.Module, q: Noise, split: TensorDataset, path: dict[str, Any], run: Run) -> Metrics:
        """Metrics of a model on a split, names without the split's prefix.

        ``steps_to_target`` is the first step after which θ was close to the true mean, one more than all steps if none was;
        ``mean_error`` the distance of the mean of θ over the second half of training, before that of θ itself.
        """
        network.eval()
        with torch.no_grad():
            found = self._judge(lambda x: network(x, q.log_prob(x)), q, split, run)
        network.train()
        if self.target_error:
            assert isinstance(network, Mean)
            theta = path["sum"] / path["steps"] if path["steps"] else network.mean()
            found |= {"mean_error": (theta - run.data.meta["mean"]).norm().item(), "steps_to_target": float(path["reached"])}
        return found

    def _judge(self, h: LogDensity, q: Noise, split: TensorDataset, run: Run) -> Metrics:
        x, outlier = run.tensors(split)
        shape, limits = tuple(run.data.meta["shape"]), run.data.meta.get("grid")
        # The same samples for every method, worker, round and resumed run.
        stream = torch.Generator(run.device).manual_seed(run.numpy_seed("evaluation"))
        values = in_parts(h, x)
        found = {}
        if limits is not None:
            log_Z = grid_log_normalizer(h, limits, shape[0], x)
        else:
            log_Z, found["normalizer_share"] = annealed_log_normalizer(h, q, CHAINS, shape, stream)
        found["nll"] = (log_Z - values[~outlier].mean()).item()
        if not values.isfinite().all():
            return found | {"auroc": math.nan}
        found["auroc"] = float(roc_auc_score((~outlier).cpu().numpy(), values.cpu().numpy()))
        if self.langevin_steps:
            start = q.sample(SAMPLES, stream).unflatten(1, shape)
            samples = langevin(h, start, self.langevin_steps, self.langevin_step_size, stream)
            found["frechet"] = self._frechet(samples, x[~outlier], run)
        return found

    def _frechet(self, samples: Tensor, real: Tensor, run: Run) -> float:
        if not samples.isfinite().all():
            return math.nan
        if run.data.meta["classes"] < 2:
            raise ConfigError(f"{run.data.name} has no classes to compare samples by: set langevin_steps to 0")
        network = feature_network(run.data, run.device)
        fake, true = network.features(samples), network.features(real)
        return frechet_distance(fake, true) if np.isfinite(fake).all() else math.nan


def split_pass(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """H of the data ``[B₁]`` and log w = h - log q of the noise ``[B₂]``, in one pass, as distributed training expects."""
    h = model(torch.cat([batch.x, batch.noise]), torch.cat([batch.log_noise_x, batch.log_noise]))
    h_x, h_noise = h.split([len(batch.x), len(batch.noise)])
    return h_x, h_noise - batch.log_noise


def log_mean_exp(values: Tensor) -> Tensor:
    """Log of the mean of e^v over ``[N]``."""
    return values.logsumexp(0) - math.log(len(values))


def over_workers(log_mean: Tensor, batch: Batch) -> Tensor:
    """The logarithm of the mean over all workers of what each has the logarithm of."""
    return log_mean_exp(batch.gather(log_mean[None]))


def likelihood_surrogate(h_x: Tensor, log_mean: Tensor, log_u: Tensor) -> Tensor:
    """-mean h(x) + mean w / u, whose gradient is that of the negative log-likelihood if u is the normalizer.

    Args:
        h_x: h of the data ``[B₁]``.
        log_mean: logarithm of the mean of w over the noise.
        log_u: logarithm of u, without gradient.
    """
    return -h_x.mean() + (log_mean - log_u).exp()
