"""Model inversion: reconstructing training images from a classifier's answers, in a black box and along its gradient."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from regbench.methods.privacy import networks
from regbench.methods.shared.data import KEPT
from regbench.methods.shared.data.private import PrivateData
from regbench.methods.training import descend

Answers = Callable[[Tensor], Tensor]
"""What may be asked of the attacked model: images ``[B, C, H, W]`` to answers ``[B, K]``, drawn anew each time."""

BATCH = 64
# Images that are evaluated at once.
MANY = 2048

# The Wasserstein GAN with a gradient penalty that is the attacker's prior.
CRITIC_STEPS, PENALTY = 5, 10.0
# The ascent along the gradient, as released: step, momentum, weight of the identity, and the number that losses are means over.
STEP, MOMENTUM, IDENTITY, MEAN_OVER = 0.02, 0.9, 100.0, 100


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Draws from torch's global generators, freshly seeded, within; leaves them as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        yield


def ask(answers: Answers, x: Tensor, queries: int) -> Tensor:
    """The mean of several answers to each image, ``[N, K]``, without gradient."""
    with torch.no_grad():
        parts = [
            answers(part.repeat(queries, 1, 1, 1)).unflatten(0, (queries, -1)).mean(0) for part in x.split(MANY // queries)
        ]
    return torch.cat(parts)


def learn_inversion(
    observe: Callable[[Tensor], Tensor], x: Tensor, architecture: networks.Architecture, *, epochs: int
) -> Callable[[Tensor], Tensor]:
    """Trains a decoder from answers back to images, on images that the attacker has, and returns the attack.

    The mean squared error is minimized by Adam, as released: rate 0.002, β₁ = 0.5, with the largest second moment. The model is
    asked anew in every epoch; answers are standardized, so that their scale is no protection.

    Args:
        observe: images ``[N, C, H, W]`` to what the attacker makes of the model's answers ``[N, K]``, without gradient.
        x: the attacker's images ``[N, C, H, W]``.
        architecture: of the attacked model, which tells the decoder's.
        epochs: passes over the images.

    Returns:
        Maps images, of which it sees the answers only, to their reconstructions.
    """
    asked = observe(x)
    mean, deviation = asked.mean(0), asked.std(0).clamp(min=1e-6)
    decoder = networks.decoder(architecture, asked.shape[1], tuple(x.shape[1:])).to(x.device)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=2e-3, betas=(0.5, 0.999), amsgrad=True)
    for _ in range(epochs):
        asked = (observe(x) - mean) / deviation
        for rows in _batches(len(x), x.device):
            descend(mse_loss(decoder(asked[rows]), x[rows]), optimizer)
    decoder.eval()

    def reconstruct(private: Tensor) -> Tensor:
        asked = (observe(private) - mean) / deviation
        with torch.no_grad():
            return torch.cat([decoder(part) for part in asked.split(MANY)])

    return reconstruct


def invert_by_gradient(
    answers: Answers, prior: tuple[nn.Module, nn.Module], labels: Tensor, latent: int, *, steps: int, restarts: int
) -> Tensor:
    """Images ``[T, C, H, W]`` that the attacked model takes for given classes and a critic for real (Zhang et al., CVPR 2020).

    Descends -D(G(z)) + 100 H(label, answers(G(z))) in z ∈ [-1, 1]^Z by Nesterov's method, from several starts; the one whose
    label gets the highest answer counts. Gradients are taken in z alone.

    Args:
        answers: the attacked model; differentiable.
        prior: generator G and critic D, in evaluation mode.
        labels: classes ``[T]``.
        latent: Z.
        steps: of each descent.
        restarts: R, the number of starts.
    """
    generator, critic = prior
    wanted = labels.repeat(restarts)  # [R T]
    z = torch.randn(len(wanted), latent, device=labels.device)
    velocity = torch.zeros_like(z)
    for _ in range(steps):
        z.requires_grad_()
        with torch.enable_grad():
            images = generator(z)
            loss = IDENTITY * cross_entropy(answers(images), wanted, reduction="sum") - critic(images).sum()
            (gradient,) = torch.autograd.grad(loss / MEAN_OVER, z)
        before, velocity = velocity, MOMENTUM * velocity - STEP * gradient
        z = (z.detach() + (1 + MOMENTUM) * velocity - MOMENTUM * before).clamp(-1, 1)
    with torch.no_grad():
        images = generator(z)
        scores = answers(images).gather(1, wanted[:, None]).view(restarts, -1)  # [R, T]
    return images.unflatten(0, (restarts, -1))[scores.argmax(0), torch.arange(len(labels), device=labels.device)]


@lru_cache(KEPT)
def attackers_prior(
    data: PrivateData, architecture: networks.Architecture, latent: int, steps: int, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """A Wasserstein GAN of the attacker's images: generator and critic, in evaluation mode; a process trains it once.

    Args:
        data: whose auxiliary images it learns.
        architecture: of the attacked models, which tells its own.
        latent: size of the latent vector.
        steps: of the critic.
        device: where it lives.
    """
    images = data.auxiliary.tensors[0].to(device)
    shape = tuple(images.shape[1:])
    with isolated(0, device):
        generator = networks.generator(architecture, latent, shape).to(device)
        critic = networks.critic(architecture, shape).to(device)
        optimizers = [torch.optim.Adam(net.parameters(), lr=5e-4, betas=(0.5, 0.999)) for net in (generator, critic)]
        for step in range(1, steps + 1):
            real = images[torch.randint(len(images), (BATCH,), device=device)]
            z = torch.randn(BATCH, latent, device=device)
            with torch.no_grad():
                fake = generator(z)
            loss = critic(fake).mean() - critic(real).mean() + PENALTY * _gradient_penalty(critic, real, fake)
            descend(loss, optimizers[1])
            if step % CRITIC_STEPS == 0:
                descend(-critic(generator(z)).mean(), optimizers[0])
    return _fixed(generator), _fixed(critic)


@lru_cache(KEPT)
def judge(data: PrivateData, architecture: networks.Architecture, epochs: int, device: torch.device) -> nn.Module:
    """A classifier of private and auxiliary images that tells what a reconstruction shows; a process trains it once.

    Args:
        data: the images.
        architecture: of the attacked models; large ones are judged by ``cnn``.
        epochs: passes over the images.
        device: where it lives.
    """
    x, y = (
        torch.cat([private, own]).to(device)
        for private, own in zip(data.train.tensors[:2], data.auxiliary.tensors[:2], strict=True)
    )
    known = y < data.meta["classes"]  # an attacker may have images of other classes
    x, y = x[known], y[known]
    with isolated(1, device):
        classifier = networks.Classifier("mlp" if architecture == "mlp" else "cnn", data.meta["shape"], data.meta["classes"])
        classifier.to(device)
        optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
        for _ in range(epochs):
            for rows in _batches(len(x), device):
                descend(cross_entropy(classifier(x[rows]), y[rows]), optimizer)
    return _fixed(classifier)


def hit_rate(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images ``[N, C, H, W]`` in which a classifier sees their labels ``[N]``."""
    with torch.no_grad():
        named = torch.cat([classifier(part).argmax(1) for part in images.split(MANY)])
    return (named == labels).double().mean().item()


def _gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """(‖∇D‖ - 1)² at random points between real and generated images, averaged (Gulrajani et al., NeurIPS 2017)."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (real + share * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def _batches(count: int, device: torch.device) -> tuple[Tensor, ...]:
    # A last batch of one image has no batch statistics.
    return tuple(rows for rows in torch.randperm(count, device=device).split(BATCH) if len(rows) > 1)


def _fixed(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)
