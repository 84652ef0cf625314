"""The denoisers that samplers of the track are judged with: exact, trained here, or read from a checkpoint."""

import sys
from functools import lru_cache

import torch
from torch import Tensor

from regbench.methods.sampling import networks
from regbench.methods.sampling.checkpoint import read_checkpoint
from regbench.methods.sampling.mixtures import GaussianMixture
from regbench.methods.sampling.networks import PreconditionedDenoiser, UNet
from regbench.methods.sampling.solvers import Denoiser
from regbench.methods.shared.data import KEPT, Data
from regbench.methods.shared.data.digit_mixture import MixtureData
from regbench.methods.shared.trained_once import trained_once
from regbench.methods.training import descend, set_rate

# The small network, and its training.
WIDTH, MULTIPLIERS, BLOCKS = 16, (1, 2), 1
STEPS, BATCH, RATE, AVERAGING = 2500, 64, 2e-3, 0.995
# Of ln σ in training: Karras et al., table 1.
NOISE_MEAN, NOISE_DEVIATION = -1.2, 1.2


@lru_cache(KEPT)
def denoiser_of(data: Data, checkpoint: str | None, device: torch.device) -> Denoiser:
    """The model to sample from.

    Args:
        data: a mixture, whose denoiser is exact; or images, with which a small network is trained, once for all processes.
        checkpoint: in place of that, the name of a file of ``REGBENCH_DATA/edm``.
        device: where a network computes.

    Raises:
        DataError: the checkpoint is missing or of another kind.
    """
    if checkpoint is not None:
        return read_checkpoint(checkpoint).eval().requires_grad_(False).to(device)
    if isinstance(data, MixtureData):
        return GaussianMixture(data.means, data.shares, data.deviation)
    return trained_denoiser(data).eval().requires_grad_(False).to(device)


def trained_denoiser(data: Data) -> PreconditionedDenoiser:
    """A small network trained on a data set's training images ``[M, C, H, W]`` in [-1, 1], with a fixed seed, on the CPU."""
    images = data.train.tensors[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PreconditionedDenoiser(UNet(images.shape[2], images.shape[1], WIDTH, MULTIPLIERS, BLOCKS))
        trained_once(
            "denoisers",
            network,
            lambda _: learn_to_denoise(network, images),
            settings=f"{STEPS} {BATCH} {RATE}",
            code=(networks, sys.modules[__name__]),
            tensors=(images,),
        )
    return network


def learn_to_denoise(network: PreconditionedDenoiser, images: Tensor) -> None:
    """Minimizes EDM's loss by Adam, whose rate falls to 0 over half a cosine; ends with an average of the parameters.

    Args:
        network: a preconditioned denoiser; changed in place.
        images: ``[M, C, H, W]``.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGING))
    for step in range(STEPS):
        set_rate(optimizer, RATE * (1 + torch.cos(torch.tensor(torch.pi * step / STEPS)).item()) / 2)
        clean = images[torch.randint(len(images), (BATCH,))]
        sigma = (NOISE_MEAN + NOISE_DEVIATION * torch.randn(BATCH)).exp()
        descend(denoising_loss(network, clean, sigma, torch.randn_like(clean)), optimizer)
        average.update_parameters(network)
    network.load_state_dict(average.module.state_dict())


def denoising_loss(network: PreconditionedDenoiser, clean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """EDM's loss, mean of (σ² + σ_d²) / (σ σ_d)² (m(x + σ ε, σ) - x)² (Karras et al., eq. 2 and table 1), a scalar.

    Args:
        network: a preconditioned denoiser, with σ_d as ``deviation``.
        clean: x ``[B, C, H, W]``.
        sigma: σ ``[B]``.
        noise: ε ``[B, C, H, W]``.
    """
    own, level = network.deviation, sigma[:, None, None, None]
    weight = (level**2 + own**2) / (level * own) ** 2
    return (weight * (network(clean + level * noise, sigma) - clean).square()).mean()
