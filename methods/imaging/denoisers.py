"""Networks that are trained to remove noise from clean images to which it was added, and restore images plug and play."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.imaging.restoration import Restoration
from regbench.methods.imaging.task import TRACK
from regbench.methods.method import Metrics, Track, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.training import Means, descend, set_rate, span


@dataclass(frozen=True)
class Batch:
    """Patches with fresh noise ``[B, C, S, S]``, the clean ones, and the number of the step, from 0."""

    noisy: Tensor
    clean: Tensor
    step: int


class TrainedDenoiser(Restoration):
    """Minimizes a distance between f(x + σ ε) and x over clean patches x and fresh noise ε.

    A method of this kind writes ``build_network``, ``objective`` and ``denoiser``; it may write ``rate``, a schedule, and
    ``project``, what happens after each step. σ is the noise that f is for, and with it the scale of the prior that restoration
    uses; without noise, f is the identity, and nothing is trained.
    """

    track: ClassVar[Track] = TRACK

    noise_level: float = weight(
        0.1, off=0.0, ge=0, symbol="σ", differentiable=False, help="standard deviation of the noise that is trained with"
    )
    patch_size: int = hyperparameter(16, ge=2, help="side of the squares that are trained on; smaller images are taken whole")
    steps: int = hyperparameter(2000, ge=1, help="of gradient descent")
    steps_per_round: int = hyperparameter(500, ge=1, help="steps in one round")
    batch_size: int = hyperparameter(64, ge=1, help="patches in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(1e-3, gt=0, may_change=True, help="of Adam, at the start")

    @property
    def rounds(self) -> int:
        """One metrics mapping per ``steps_per_round``; one where nothing is trained."""
        return -(-self.steps // self.steps_per_round) if self.noise_level else 1

    @abstractmethod
    def build_network(self, channels: int, size: int) -> nn.Module:
        """The network for images of that many channels and patches of that side, with fresh parameters."""

    @abstractmethod
    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The scalar to minimize, and f(y)."""

    @abstractmethod
    def denoiser(self, network: Any, size: int) -> Callable[[Tensor], Tensor]:
        """F of images of any size, of a network for patches."""

    def rate(self, step: int) -> float:
        """The factor on the learning rate of a step, from 0."""
        return 1.0

    def project(self, network: Any) -> None:
        """Puts parameters back to where they may be."""

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``steps`` and yields the mean loss and what is restored after every ``steps_per_round``."""
        if not self.noise_level:
            run.restore()
            for _ in run.rounds(1):
                yield run.judge(lambda split: self.assess(lambda noisy: noisy, split, run))
            return
        clean = run.tensors(run.data.train)[1]
        size = min(self.patch_size, *clean.shape[2:])
        network = self.build_network(clean.shape[1], size).to(run.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        model, weights = run.prepare(network), self.weight_values()
        run.restore(network=network, optimizer=optimizer)
        for number in run.rounds(self.rounds):
            means = Means()
            network.train()
            for step in span(number, self.steps_per_round, self.steps):
                set_rate(optimizer, self.learning_rate * self.rate(step - 1))
                loss, _ = self.objective(model, self._batch(clean, size, step - 1, run), weights)
                descend(loss, optimizer)
                self.project(network)
                means.add(loss=loss)
            run.average_buffers(network)
            network.eval()
            denoise = self.denoiser(network, size)
            yield means.metrics() | run.judge(partial(self.assess, denoise, run=run))

    def hidden(self, run: Run, count: int) -> Hidden | None:
        """What the last layer is given of corners of clean images with noise, as large as patches; None without training."""
        if not self.noise_level:
            return None
        clean = run.tensors(run.data.validation)[1]
        size = min(self.patch_size, *clean.shape[2:])
        corners = clean[fixed_rows(len(clean), count, run.device), :, :size, :size]
        noise = torch.randn(corners.shape, generator=torch.Generator().manual_seed(0)).to(run.device)
        noisy = corners + self.noise_level * noise
        return Hidden(penultimate(run.network, noisy), noisy, None)

    def _batch(self, clean: Tensor, size: int, step: int, run: Run) -> Batch:
        """Patches at random places of random images."""
        rows = run.draw(len(clean), self.batch_size)
        stream, window = run.generator("patches", run.device), torch.arange(size, device=run.device)
        down, across = (
            torch.randint(length - size + 1, (len(rows), 1), generator=stream, device=run.device) + window
            for length in clean.shape[2:]
        )
        patches = clean[rows[:, None, None], :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)
        noise = torch.randn(patches.shape, generator=run.generator("noise", run.device), device=run.device)
        return Batch(patches + self.noise_level * noise, patches, step)
