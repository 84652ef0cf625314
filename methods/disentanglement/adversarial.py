"""InfoGANs: generators whose images tell an encoder what latents they were made of, trained as Wasserstein GANs."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.disentanglement.latents import Latents
from regbench.methods.disentanglement.networks import Architecture, Shape, Size, decoder, encoder
from regbench.methods.disentanglement.task import DisentanglementMethod
from regbench.methods.method import Metrics, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.lipschitz import lipschitz_penalty, slope_norms
from regbench.methods.training import Means

# Momenta of Adam for both networks, as released.
BETAS = (0.0, 0.9)


@dataclass(frozen=True)
class Judgement:
    """What a critic says of images: the encoder's output ``[B, n_z]``, and their value ``[B]``, larger for real ones."""

    code: Tensor
    value: Tensor


class Critic(nn.Module):
    """An encoder with a second head, for the value."""

    def __init__(self, architecture: Architecture, shape: Shape, outputs: int, size: Size) -> None:
        super().__init__()
        self.encoder = encoder(architecture, shape, outputs, size)
        self.value = nn.Linear(size.hidden, 1)

    def forward(self, x: Tensor) -> Judgement:
        """Images ``[B, C, H, W]``."""
        features = self.encoder.body(x)
        return Judgement(self.encoder.head(features).to(x.dtype), self.value(features)[:, 0])


@dataclass(frozen=True)
class Generated:
    """Images in [0, 1] ``[B, C, H, W]``, and the latents that they were made of ``[B, n_z]``."""

    x: Tensor
    z: Tensor


class Generator(nn.Module):
    """A latent, which has ``sample`` and ``values``, and a decoder."""

    latent: Any

    def __init__(self, architecture: Architecture, shape: Shape, latent: Any, size: Size) -> None:
        super().__init__()
        self.latent = latent
        self.decoder = decoder(architecture, shape, latent.outputs, size)

    def forward(self, drawn: Tensor) -> Generated:
        """Images of what ``latent.sample`` drew."""
        z = self.latent.values(drawn)
        return Generated(self.decoder(z).sigmoid(), z)


class AdversarialMethod(DisentanglementMethod):
    """Trains a critic that encodes, and every few steps a generator. A method overrides ``build_latent`` and ``code_losses``.

    - critic: λ_v (D(x̃) - D(x)) + λ_gp (‖∇D(x̄)‖ - 1)² + λ_lat mean_j (z̃_j(x̃) - z_j)² + what ``code_losses`` adds;
    - generator: -λ_v D(x̃) + λ_lat mean_j (z̃_j(x̃) - z_j)² + the same.

    x̃ is generated from latents z, x̄ = ε x + (1 - ε) x̃ with ε uniform for each image, and z̃ is what the encoder finds.
    """

    learning_rate: float = hyperparameter(2e-4, gt=0, help="of both Adams, which have no momentum")
    generator_every: int = hyperparameter(5, ge=1, help="critic steps for each generator step")
    value_weight: float = hyperparameter(1.0, gt=0, help="weight of the critic's values, λ_v")
    gradient_penalty_weight: float = weight(
        10.0, off=0.0, ge=0, symbol="λ_gp", differentiable=True, help="weight of the critic's departure from slope 1"
    )
    latent_weight: float = weight(
        200.0, off=0.0, ge=0, symbol="λ_lat", differentiable=True, help="weight of the error of latents found in images"
    )

    @abstractmethod
    def build_latent(self, data: Data) -> Any:
        """A module with ``sample`` and ``values``."""

    def code_losses(self, latents: Latents, weights: SimpleNamespace) -> Tensor | float:
        """What is added for each image ``[B]``."""
        return 0.0

    def critic_loss(
        self,
        critic: Callable[[Tensor], Judgement],
        latent: Callable[[Tensor], Latents],
        real: Tensor,
        fake: Generated,
        share: Tensor,
        weights: SimpleNamespace,
    ) -> Tensor:
        """What the critic minimizes, a mean over images; see the class.

        Args:
            critic: to be called once, as distributed training expects.
            latent: makes latents of codes.
            real: ``[B, C, H, W]``.
            fake: without gradient.
            share: ε ``[B, 1, 1, 1]``.
            weights: numbers or scalar tensors.
        """
        between = (share * real + (1 - share) * fake.x).requires_grad_()
        judged = critic(torch.cat([fake.x, real, between]))
        value, real_value, between_value = judged.value.chunk(3)
        penalty = lipschitz_penalty(slope_norms(between_value, between))
        loss = self.value_weight * (value - real_value) + weights.gradient_penalty_weight * penalty
        return (loss + self._latent_loss(latent(judged.code[: len(real)]), fake.z, weights)).mean()

    def generator_loss(
        self,
        critic: Callable[[Tensor], Judgement],
        latent: Callable[[Tensor], Latents],
        fake: Generated,
        weights: SimpleNamespace,
    ) -> Tensor:
        """What the generator minimizes, a mean over images; see the class and ``critic_loss``."""
        judged = critic(fake.x)
        return (self._latent_loss(latent(judged.code), fake.z, weights) - self.value_weight * judged.value).mean()

    def _latent_loss(self, latents: Latents, z: Tensor, weights: SimpleNamespace) -> Tensor:
        return weights.latent_weight * latent_loss(latents.z, z) + self.code_losses(latents, weights)

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` critic steps and yields mean losses and validation metrics after every ``report_every``."""
        shape, size = tuple(run.data.meta["shape"]), self.size()
        latent = self.build_latent(run.data)
        generator = Generator(self.architecture, shape, latent, size).to(run.device)
        critic = Critic(self.architecture, shape, latent.inputs, size).to(run.device)
        optimizers = [self.adam(network, BETAS) for network in (critic, generator)]
        wrapped = self.prepare(critic, run), self.prepare(generator, run)
        run.restore(critic=critic, generator=generator, critic_optimizer=optimizers[0], generator_optimizer=optimizers[1])
        for number in run.rounds(self.rounds):
            means = Means()
            for step in self.steps(number):
                self._critic_step(wrapped[0], generator, optimizers[0], means, run)
                if step % self.generator_every == 0:
                    self._generator_step(critic, wrapped[1], latent, optimizers[1], means, run)
            yield means.metrics() | run.judge(lambda split: self.evaluate(critic, generator, split, run))

    def _critic_step(self, critic: Any, generator: Generator, optimizer: torch.optim.Optimizer, means: Means, run: Run) -> None:
        real = self.images(run)
        with torch.no_grad():
            fake = generator(generator.latent.sample(len(real), run.generator("latents", run.device)))
        share = torch.rand(len(real), 1, 1, 1, generator=run.generator("between", run.device), device=run.device)
        # The codebooks are the generator's: this step's gradient is not for them.
        generator.requires_grad_(False)
        loss = self.critic_loss(critic, generator.latent, real, fake, share, self.weight_values())
        self.descend(loss, optimizer)
        generator.requires_grad_(True)
        means.add(critic_loss=loss)

    def _generator_step(
        self, critic: Critic, generator: Any, latent: Any, optimizer: torch.optim.Optimizer, means: Means, run: Run
    ) -> None:
        rows = self.batch_size // run.world.size
        fake = generator(latent.sample(rows, run.generator("latents", run.device)))
        critic.requires_grad_(False)
        loss = self.generator_loss(critic, latent, fake, self.weight_values())
        self.descend(loss, optimizer)
        critic.requires_grad_(True)
        means.add(generator_loss=loss)

    def encode(self, run: Run, x: Tensor) -> Tensor:
        """Codes that the generator's latent makes of what the critic gives."""
        return run.part("generator").latent(run.part("critic")(x).code).codes

    def evaluate(self, critic: Critic, generator: Generator, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of what the critic encodes and the generator makes of it, names without the split's prefix."""

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            latents = generator.latent(critic(x).code)
            return latents.codes, generator.decoder(latents.z).sigmoid()

        return self.judge_codes(encode, discrete=generator.latent.discrete, split=split, run=run)


def latent_loss(found: Tensor, z: Tensor) -> Tensor:
    """mean_j (z̃_j - z_j)² of latents ``[B, n_z]``; ``[B]``."""
    return (found - z).square().mean(1)
