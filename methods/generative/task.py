"""The generative task: one adversarial loop, two networks, two optimizers. A method overrides only what its paper changes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.generative import metrics, networks
from regbench.methods.generative.features import feature_network
from regbench.methods.generative.networks import Architecture, Discriminator
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import Means, StepMethod, descend, set_rate

TRACK = Track(
    name="generative",
    help="a generator of new images, judged by the distance of their distribution to unseen real ones",
    metrics=(Metric("frechet", "min"), Metric("class_entropy", "max"), Metric("spread", "max"), Metric("recall", "max")),
    data=("digit_images", "cifar10_images"),
    baseline="wgan",
    smoke={"iterations": 12, "report_every": 4},
)

# Images that are generated at once for the evaluation.
EVALUATION_BATCH = 512

Codes = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One iteration of the adversarial game.

    Attributes:
        iteration: from 1.
        iterations: planned.
        memory: tensors that the method remembers across iterations, by name.
        draw: ``draw(use, *shape)`` gives standard normal noise from a stream named after its use, on the device.
        generator: ``generator(use)`` gives that stream itself, for other distributions.
        gather: concatenates a tensor of all workers.
    """

    iteration: int
    iterations: int
    memory: dict[str, Tensor]
    draw: Callable[..., Tensor]
    generator: Callable[[str], torch.Generator]
    gather: Callable[[Tensor], Tensor]


class GenerativeMethod(StepMethod):
    """Trains a generator against a discriminator that embeds images as codes ``[B, m]``.

    A method of the track may override ``discriminator_objective`` and ``generator_objective`` (losses), ``build_discriminator``
    and ``build_memory`` with ``remember_real`` and ``remember_fake`` (what is kept across iterations).
    """

    track: ClassVar[Track] = TRACK

    architecture: Architecture = hyperparameter(
        "small",
        help="both networks: small (two convolutions each, for 8x8) or dcgan (width 128, for squares of 16, 32, … pixels)",
    )
    iterations: int = hyperparameter(2500, ge=1, help="discriminator steps")
    report_every: int = hyperparameter(250, ge=1, help="discriminator steps in one round")
    discriminator_steps: int = hyperparameter(3, ge=1, help="discriminator steps for each generator step")
    batch_size: int = hyperparameter(64, ge=2, help="images in a mini-batch, over all workers")
    latent_dim: int = hyperparameter(32, ge=1, help="size of the latent vector")
    code_dim: int = hyperparameter(16, ge=1, help="size m of a discriminator code")
    learning_rate: float = hyperparameter(2e-3, gt=0, may_change=True, help="of both Adams; 2e-3 stresses stability")
    learning_rate_decay: float = hyperparameter(
        1.0, gt=0, le=1, may_change=True, help="factor on the rate after each 36th of training; MaEM-GAN: 0.9"
    )
    samples: int = hyperparameter(1792, ge=2, help="generated images that are judged")

    def discriminator_objective(
        self, discriminator: Codes, real: Tensor, fake: Tensor, step: Step, weights: SimpleNamespace
    ) -> tuple[Tensor, Tensor]:
        """What the discriminator minimizes, and the codes ``[B, m]`` of the real images.

        Args:
            discriminator: maps images and head noise to codes; to be called once.
            real: ``[B, C, H, W]``.
            fake: ``[B, C, H, W]``, without gradient.
            step: the iteration.
            weights: the method's weights, numbers or scalar tensors.
        """
        t, f = embed(discriminator, {"real": real, "fake": fake}, step, self.code_dim)
        return f.mean() - t.mean(), t

    def generator_objective(self, fake_codes: Tensor, step: Step, weights: SimpleNamespace) -> Tensor:
        """What the generator minimizes, given the codes ``[B, m]`` of its images."""
        return -fake_codes.mean()

    def build_discriminator(self, data: Data) -> Discriminator:
        """The discriminator, with fresh parameters."""
        return Discriminator(self.architecture, data.meta["shape"], self.code_dim, stochastic=True)

    def build_memory(self, run: Run) -> dict[str, Tensor]:
        """Tensors to remember across iterations, by name."""
        return {}

    def remember_real(self, codes: Tensor, step: Step) -> None:
        """Updates the memory after a discriminator step, from the detached codes of the real images."""

    def remember_fake(self, codes: Tensor, step: Step) -> None:
        """Updates the memory after a generator step, from the detached codes of the generated images."""

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields mean losses and sample metrics after every ``report_every``."""
        generator = networks.generator(self.architecture, self.latent_dim, run.data.meta["shape"]).to(run.device)
        discriminator = self.build_discriminator(run.data).to(run.device)
        memory = self.build_memory(run)
        # Drawn before a checkpoint sets the generators to where they stood after drawing.
        stream = run.generator("samples", run.device, shared=True)
        samples = torch.randn(self.samples, self.latent_dim, generator=stream, device=run.device)
        # betas as in MaEM-GAN and the WGAN line of work: no momentum in an adversarial game
        optimizers = [
            torch.optim.Adam(net.parameters(), lr=self.learning_rate, betas=(0.0, 0.999)) for net in (discriminator, generator)
        ]
        wrapped = run.prepare(generator), run.prepare(discriminator)
        run.restore(
            generator=generator,
            discriminator=discriminator,
            generator_optimizer=optimizers[1],
            discriminator_optimizer=optimizers[0],
            memory=memory,
        )
        for number in run.rounds(self.rounds):
            means = Means()
            for iteration in self.steps(number):
                for optimizer in optimizers:
                    set_rate(optimizer, self._rate(iteration))
                self._iterate((generator, discriminator), wrapped, optimizers, memory, iteration, means, run)
            run.average_buffers(generator)
            yield means.metrics() | run.judge(lambda split: self.evaluate(generator, samples, split, run))

    def _iterate(
        self,
        bare: tuple[nn.Module, Discriminator],
        wrapped: tuple[nn.Module, nn.Module],
        optimizers: list[torch.optim.Adam],
        memory: dict[str, Tensor],
        iteration: int,
        means: Means,
        run: Run,
    ) -> None:
        """One discriminator step and, every ``discriminator_steps``-th time, a generator step on the same latent vectors."""
        weights = self.weight_values()
        step = Step(
            iteration,
            self.iterations,
            memory,
            lambda use, *shape: torch.randn(*shape, generator=run.generator(use, run.device), device=run.device),
            lambda use: run.generator(use, run.device),
            run.gather,
        )
        images = run.tensors(run.data.train)[0]
        real = images[run.draw(len(images), self.batch_size)]
        latent = step.draw("latent", len(real), self.latent_dim)
        with torch.no_grad():
            fake = bare[0](latent)
        loss, codes = self.discriminator_objective(wrapped[1], real, fake, step, weights)
        descend(loss, optimizers[0])
        self.remember_real(codes.detach(), step)
        means.add(discriminator_loss=loss)
        if iteration % self.discriminator_steps == 0:
            # The gradient passes through the discriminator to the generator, and must leave nothing in it.
            bare[1].requires_grad_(False)
            fake_codes = bare[1](wrapped[0](latent), step.draw("head/generator", len(real), self.code_dim))
            loss = self.generator_objective(fake_codes, step, weights)
            descend(loss, optimizers[1])
            bare[1].requires_grad_(True)
            self.remember_fake(fake_codes.detach(), step)
            means.add(generator_loss=loss)

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the discriminator's head is given for real images; labels are their classes."""
        x, y = run.tensors(run.data.validation)
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(penultimate(run.part("discriminator"), x[rows], x.new_zeros(len(rows), self.code_dim)), x[rows], y[rows])

    def _rate(self, iteration: int) -> float:
        """The learning rate of an iteration, from 1."""
        return self.learning_rate * self.learning_rate_decay ** (36 * (iteration - 1) // self.iterations)

    def evaluate(self, generator: nn.Module, samples: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of the images of latent vectors ``[N, Z]`` against a split's images; NaN from a generator that diverged."""
        generator.eval()
        with torch.no_grad():
            images = torch.cat([generator(part) for part in samples.split(EVALUATION_BATCH)])
        generator.train()
        if not images.isfinite().all():
            return {metric.name: math.nan for metric in TRACK.metrics}
        network = feature_network(run.data, run.device)
        fake, real = network.features(images), network.features(split.tensors[0])
        return {
            "frechet": metrics.frechet_distance(fake, real),
            "class_entropy": metrics.class_entropy(np.asarray(network.classes(images)), run.data.meta["classes"]),
            "spread": metrics.spread(fake),
            "recall": metrics.recall(real, fake),
        }


def embed(discriminator: Codes, images: dict[str, Tensor], step: Step, code_dim: int) -> list[Tensor]:
    """Codes of several groups of images in one forward pass, each group with head noise from its own stream.

    One pass, because distributed training expects it, and because each pass moves the spectral norms.
    """
    noise = [step.draw(f"head/{use}", len(x), code_dim) for use, x in images.items()]
    codes = discriminator(torch.cat(list(images.values())), torch.cat(noise))
    return list(codes.split([len(x) for x in images.values()]))
