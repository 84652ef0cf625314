"""The dynamics task: a Koopman autoencoder on windows of trajectories. Methods add to what it minimizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.dynamics.metrics import apply, forecast_metrics, spectrum
from regbench.methods.dynamics.networks import Architecture, KoopmanNetwork, Pass
from regbench.methods.dynamics.operators import least_squares
from regbench.methods.errors import ConfigError
from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.method import Method, Metric, Metrics, Track, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import set_rate

TRACK = Track(
    name="dynamics",
    help="forecasts of a dynamical system by a linear operator on lifted states, judged many steps ahead",
    metrics=(
        Metric("nrmse_20", "min"),
        Metric("nrmse_5", "min"),
        Metric("nrmse_50", "min"),
        Metric("effective_dimension", "max"),
    ),
    data=(
        "van_der_pol",
        "lorenz63",
        "pendulum",
        "double_well",
        "cylinder_wake",
        "cfdbench_cylinder",
        "cfdbench_dam",
    ),
    baseline="koopman_autoencoder",
    smoke={"epochs": 2, "batch_size": 512},
)

Model = Callable[[Tensor, Tensor | None, Callable[[Tensor], Tensor]], Pass]


@dataclass(frozen=True)
class Batch:
    """A mini-batch of windows and what the other workers have to do with it.

    Attributes:
        x: states ``[B, T + 1, …]``.
        noise: standard normal numbers ``[B, T + 1, d]`` for a variational encoder, otherwise None.
        average: the mean of a tensor over all workers, without gradient.
        pool: latents of all workers ``[W B, …]`` from this worker's, for terms that are no means over windows; gradients reach
            this worker's alone, times the number of workers, so that their mean over workers is that of the whole batch.
    """

    x: Tensor
    noise: Tensor | None
    average: Callable[[Tensor], Tensor]
    pool: Callable[[Tensor], Tensor]


class KoopmanMethod(Method):
    """Trains an encoder, a decoder g and an operator K such that states follow x_{t+1} ≈ g(z_t K).

    A method of the track overrides ``objective``. With windows of T + 1 states:

    - ``code``: Σ_t MSE(g(z_t K), x_{t+1}) + λ_id Σ_t MSE(g(z_t), x_t) + β Σ_t MSE(z_t K, z_{t+1}): means over windows and
      components, sums over T steps, as in the released code of InformationKoopman, which has no β term;
    - ``paper``: mean over steps of ‖x_t - g(z_t)‖² + β ‖z_{t+1} - z_t K‖² (its algorithm 2);
    - ``variational``: minus the mean over steps of log p(x_n | z_n) + log p(x_{n-1} | z_{n-1})
      - KL(p(z_{n-1} | x_{n-1}) ‖ N(0, I)) + β (log N(z_n; z_{n-1} K, Σ) + H(p(z_n | x_n))), with p(x | z) normal of
      unit variance, up to a constant (its algorithm 1).

    Adam, gradients clipped, the rate times 0.8 every 20 epochs. Forecasts use one least-squares operator on all training
    latents, or the one of training (``trained``): the mean of the last epoch's batch operators, weighted by windows, or the
    learned K. Published practice keeps the epoch that is best on validation data; here the last epoch counts, as for every
    method, because validation data are for tuning.
    """

    track: ClassVar[Track] = TRACK

    reconstruction_weight: float = weight(
        0.1,
        # What reconstructs is no regularizer of an autoencoder: the plain one has it too.
        off=0.1,
        ge=0,
        symbol="λ_id",
        differentiable=True,
        help="weight of the reconstruction of states, code only; switched off, it is the plain autoencoder's",
    )
    koopman_consistency_weight: float = weight(
        0.0,
        off=0.0,
        ge=0,
        symbol="β",
        differentiable=True,
        help="weight of the latents' own linearity; the paper's for images: 2",
    )
    objective_form: Literal["code", "paper", "variational"] = hyperparameter(
        "code", help="code: multi-step errors of states; paper: reconstruction; variational: likelihoods"
    )
    operator: Literal["ridge", "parameter"] = hyperparameter(
        "ridge", help="ridge: fitted to each window and averaged, without gradient; parameter: learned"
    )
    ridge: float = hyperparameter(
        0.1, gt=0, may_change=True, help="of the windows' regressions; without gradient, as the operator is"
    )
    inference_operator: Literal["least_squares", "trained"] = hyperparameter(
        "least_squares", help="forecasts with one regression on all training latents, or with the operator of training"
    )
    architecture: Architecture = hyperparameter("mlp", help="mlp (one hidden layer), or conv for frames")
    latent_dim: int = hyperparameter(
        8, ge=1, help="size d of a latent; at most window_length leaves the regressions determined"
    )
    hidden_dim: int = hyperparameter(64, ge=1, help="width of the hidden layer of mlp")
    window_length: int = hyperparameter(16, ge=2, help="steps T of a window, which holds one state more")
    epochs: int = hyperparameter(8, ge=1, help="passes over the training windows")
    batch_size: int = hyperparameter(32, ge=1, help="windows in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="of Adam at the start")
    decay_every: int = hyperparameter(20, ge=1, help="epochs after which the rate falls")
    decay: float = hyperparameter(0.8, gt=0, le=1, may_change=True, help="factor by which it falls")
    gradient_clip: float = hyperparameter(1.0, gt=0, may_change=True, help="largest norm of a gradient")

    @property
    def rounds(self) -> int:
        """One metrics mapping per epoch."""
        return self.epochs

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Pass]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: a Koopman network.
            batch: the mini-batch.
            weights: the method's regularization weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and what the model gave.
        """
        found = model(batch.x, batch.noise, batch.average)
        form = {"code": code_loss, "paper": paper_loss, "variational": variational_loss}[self.objective_form]
        return form(found, batch.x, weights), found

    def build_model(self, data: Data) -> KoopmanNetwork:
        """The network, with fresh parameters.

        Raises:
            ConfigError: the architecture does not fit the states.
        """
        shape = tuple(data.meta["shape"])
        if self.architecture == "conv" and (len(shape) != 3 or shape[1] % 16 or shape[2] % 16):
            raise ConfigError(f"conv needs frames with sides that are multiples of 16, not {shape}: set architecture to mlp")
        return KoopmanNetwork(
            shape,
            self.latent_dim,
            self.hidden_dim,
            self.architecture,
            self.operator,
            self.ridge,
            self.objective_form == "variational",
        )

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``epochs`` and yields training loss and validation metrics after each."""
        windows = all_windows(run.data.train, self.window_length)
        network = self.build_model(run.data).to(run.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        model = run.prepare(network)
        run.restore(model=network, optimizer=optimizer)
        for epoch in run.rounds(self.epochs):
            set_rate(optimizer, self.learning_rate * self.decay ** ((epoch - 1) // self.decay_every))
            loss, trained = self._train_epoch(model, network, optimizer, windows, run)
            network.eval()
            with torch.no_grad():
                operator = self._inference(network, trained, run)
                metrics = {"train/loss": loss} | spectrum(operator, run.data.meta) | self._judge(network, operator, run)
            yield metrics

    def hidden(self, run: Run, count: int) -> Hidden:
        """Latents of single states, which have no labels."""
        states = run.tensors(run.data.validation)[0].flatten(0, 1)
        x = states[fixed_rows(len(states), count, run.device)]
        return Hidden(run.network.encode(x), x, None)

    def _train_epoch(
        self, model: nn.Module, network: KoopmanNetwork, optimizer: torch.optim.Adam, windows: TensorDataset, run: Run
    ) -> tuple[float, Tensor]:
        """One pass over the windows: the mean objective of this worker's batches, and the mean operator."""
        model.train()
        (states,) = run.tensors(run.data.train)
        weights = self.weight_values()
        span = torch.arange(self.window_length + 1, device=run.device)
        total, operators, seen = torch.zeros((), device=run.device), torch.zeros((), device=run.device), 0
        for trajectory, start, _ in run.loader(windows, self.batch_size):
            x = states[trajectory[:, None], start[:, None] + span]  # [B, T + 1, …]
            noise = None
            if self.objective_form == "variational":
                stream = run.generator("latent noise", run.device)
                noise = torch.randn(*x.shape[:2], self.latent_dim, generator=stream, device=run.device)
            loss, found = self.objective(model, Batch(x, noise, mean_of_workers(run), pool_of_workers(run)), weights)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip)
            optimizer.step()
            total, operators = total + len(x) * loss.detach(), operators + len(x) * found.operator.detach()
            seen += len(x)
        return (total / seen).item(), operators / seen if network.operator is None else network.operator.detach()

    def _inference(self, network: KoopmanNetwork, trained: Tensor, run: Run) -> Tensor:
        """The operator that forecasts, float64."""
        if self.inference_operator == "trained":
            return trained.double()
        z = apply(network.encode, run.tensors(run.data.train)[0])
        return least_squares(z[:, :-1].flatten(0, 1), z[:, 1:].flatten(0, 1))

    def _judge(self, network: KoopmanNetwork, operator: Tensor, run: Run) -> Metrics:
        def evaluate(split: TensorDataset) -> Metrics:
            return forecast_metrics(run.tensors(split)[0], network.encode, operator, network.decoder, run.data.meta)

        return run.judge(evaluate)


def code_loss(found: Pass, x: Tensor, weights: SimpleNamespace) -> Tensor:
    """Errors of forecasts by one step, of reconstructions and of latents; means over components, sums over steps."""
    steps = x.shape[1] - 1
    z = found.latents
    forecast = (found.predictions - x[:, 1:]).square().mean()
    identity = (found.reconstructions[:, :-1] - x[:, :-1]).square().mean()
    linear = (found.steps - z[:, 1:]).square().mean()
    return steps * (forecast + weights.reconstruction_weight * identity + weights.koopman_consistency_weight * linear)


def paper_loss(found: Pass, x: Tensor, weights: SimpleNamespace) -> Tensor:
    """Squared norms of the errors of reconstructions and of latents; means over windows and steps."""
    reconstruction = (found.reconstructions - x).flatten(2).square().sum(2).mean()
    return reconstruction + weights.koopman_consistency_weight * (found.steps - found.latents[:, 1:]).square().sum(2).mean()


def variational_loss(found: Pass, x: Tensor, weights: SimpleNamespace) -> Tensor:
    """Minus the likelihoods, the transition's with the encoder's entropy, and the divergence from the prior."""
    log_variance, transition = found.log_variance, found.transition_log_variance
    assert log_variance is not None
    assert transition is not None
    likelihood = -0.5 * (found.reconstructions - x).flatten(2).square().sum(2)  # [B, T + 1]
    prior = 0.5 * (found.mean.square() + log_variance.exp() - 1 - log_variance).sum(2)
    # The log 2π of the transition's density and of the encoder's entropy cancel.
    error = (found.latents[:, 1:] - found.steps).square() / transition.exp()
    consistency = 0.5 * (1 + log_variance[:, 1:] - transition - error).sum(2)
    gain = likelihood[:, 1:] + likelihood[:, :-1] - prior[:, :-1] + weights.koopman_consistency_weight * consistency
    return -gain.mean()


def all_windows(split: TensorDataset, steps: int) -> TensorDataset:
    """Trajectory and first state of each window of ``steps + 1`` states, two int64 tensors.

    Raises:
        ConfigError: the trajectories are shorter than a window.
    """
    count, length = split.tensors[0].shape[:2]
    if length <= steps:
        raise ConfigError(f"trajectories have {length} states: set window_length below that, not to {steps}")
    starts = torch.arange(length - steps)
    return TensorDataset(torch.arange(count).repeat_interleave(len(starts)), starts.repeat(count))


def mean_of_workers(run: Run) -> Callable[[Tensor], Tensor]:
    """The mean of a tensor over all workers, without gradient; alone, the tensor itself."""
    if run.world.size == 1:
        return _identity
    return lambda value: run.gather(value.detach()[None]).mean(0)


def pool_of_workers(run: Run) -> Callable[[Tensor], Tensor]:
    """All workers' rows from this one's; see ``Batch.pool``."""
    size, rank = run.world.size, run.world.rank
    if size == 1:
        return _identity

    def pool(z: Tensor) -> Tensor:
        parts = list(run.gather(z.detach()).chunk(size))
        parts[rank] = parts[rank] + size * (z - z.detach())
        return torch.cat(parts)

    return pool


def _identity(value: Tensor) -> Tensor:
    return value
