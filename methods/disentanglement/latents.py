"""What stands between encoder and decoder: plain, Gaussian, and quantized latents.

Each latent takes the encoder's output ``[B, inputs]`` and gives ``Latents``; ``discrete`` says whether it has categories.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

# Below this, log(softplus(p)) is p to double precision, and softplus soon underflows.
LINEAR_BELOW = -37.0


@dataclass(frozen=True)
class Latents:
    """Latents of a batch.

    Attributes:
        z: what the decoder is given ``[B, D]``; D is n_z, or n_z times the size of an embedding.
        codes: what is evaluated ``[B, n_z]``: positions, means of Gaussians, or categories, int64.
        continuous: of quantized latents, the encoder's output ``[B, D]``.
        quantized: of quantized latents, the codebook's nearest values ``[B, D]``, with gradient to the codebook.
        mean: of Gaussian latents ``[B, n_z]``.
        deviation: of Gaussian latents, their standard deviations ``[B, n_z]``.
        log_deviation: and the logarithms of these.
    """

    z: Tensor
    codes: Tensor
    continuous: Tensor | None = None
    quantized: Tensor | None = None
    mean: Tensor | None = None
    deviation: Tensor | None = None
    log_deviation: Tensor | None = None


def quantize(continuous: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """The value of each latent's codebook that is nearest, the first of equally near ones.

    Args:
        continuous: ẑ ``[B, n_z]``.
        codebooks: V ``[n_z, n_v]``, or ``[1, n_v]`` for one that all latents share.

    Returns:
        z_j = V_jk ``[B, n_z]``, and k_j = argmin_k |ẑ_j - V_jk| ``[B, n_z]``, int64.
    """
    indices = (continuous[:, :, None] - codebooks).abs().argmin(2)
    return look_up(indices, codebooks), indices


def look_up(indices: Tensor, codebooks: Tensor) -> Tensor:
    """The values ``[B, n_z]`` at indices ``[B, n_z]`` of codebooks ``[n_z, n_v]`` or ``[1, n_v]``."""
    return codebooks.expand(indices.shape[1], -1).gather(1, indices.T).T


def quantize_vectors(continuous: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding that is nearest to each vector, the first of equally near ones.

    Args:
        continuous: ``[B, n_z, D]``.
        embeddings: ``[K, D]``.

    Returns:
        Embeddings ``[B, n_z, D]``, and their indices ``[B, n_z]``, int64.
    """
    distances = (continuous[:, :, None] - embeddings).square().sum(3)  # [B, n_z, K]
    indices = distances.argmin(2)
    return embeddings[indices], indices


def straight_through(continuous: Tensor, quantized: Tensor) -> Tensor:
    """ẑ + sg[z - ẑ]: the quantized value, whose gradient goes to the continuous one as it is, and not to the codebook."""
    return continuous + (quantized - continuous).detach()


def quantization_loss(continuous: Tensor, quantized: Tensor) -> Tensor:
    """mean_j (sg[ẑ_j] - z_j)² for each row ``[B]``: moves the codebook only."""
    return (continuous.detach() - quantized).square().flatten(1).mean(1)


def commitment_loss(continuous: Tensor, quantized: Tensor) -> Tensor:
    """mean_j (ẑ_j - sg[z_j])² for each row ``[B]``: moves the encoder only."""
    return (continuous - quantized.detach()).square().flatten(1).mean(1)


class Continuous(nn.Module):
    """The encoder's output as it is."""

    discrete = False

    def __init__(self, count: int) -> None:
        super().__init__()
        self.inputs = self.outputs = count

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Latents:
        """Latents ``[B, n_z]``."""
        return Latents(x, x)


class Uniform(Continuous):
    """The encoder's output as it is; a generator's latents are uniform in [0, 1)."""

    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        """Latents ``[rows, n_z]``."""
        return torch.rand(rows, self.inputs, generator=generator, device=generator.device)

    def values(self, drawn: Tensor) -> Tensor:
        """The latents that a sample stands for: itself."""
        return drawn


class DiagonalGaussian(nn.Module):
    """N(μ, σ²) with (μ, p) the encoder's output and σ = softplus(p): a sample μ + σ ε in training, μ in evaluation."""

    discrete = False

    def __init__(self, count: int) -> None:
        super().__init__()
        self.inputs, self.outputs = 2 * count, count

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Latents:
        """Latents of ``[B, 2 n_z]``, drawn with standard normal noise ``[B, n_z]`` where that is given."""
        mean, parameter = x.chunk(2, 1)
        deviation = softplus(parameter)
        z = mean if noise is None else mean + deviation * noise
        return Latents(z, mean, mean=mean, deviation=deviation, log_deviation=log_softplus(parameter))


def log_softplus(x: Tensor) -> Tensor:
    """log(log(1 + eˣ)), finite wherever x is: the logarithm of a deviation that itself underflows."""
    small = x < LINEAR_BELOW
    return torch.where(small, x, softplus(torch.where(small, 0.0, x)).log())


class ScalarQuantizer(nn.Module):
    """A codebook of n_v learnable numbers for each latent, evenly spaced from -½ to ½ at the start, or one for all of them."""

    discrete = True

    def __init__(self, count: int, values: int, *, shared: bool = False) -> None:
        super().__init__()
        self.inputs = self.outputs = count
        self.codebooks = nn.Parameter(torch.linspace(-0.5, 0.5, values).repeat(1 if shared else count, 1))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Latents:
        """Quantized latents of ``[B, n_z]``; the decoder's gradient passes straight through."""
        quantized, indices = quantize(x, self.codebooks)
        return Latents(straight_through(x, quantized), indices, continuous=x, quantized=quantized)

    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        """Uniform indices ``[rows, n_z]``."""
        return torch.randint(self.codebooks.shape[1], (rows, self.inputs), generator=generator, device=generator.device)

    def values(self, drawn: Tensor) -> Tensor:
        """The latents ``[B, n_z]`` that indices stand for, with gradient to the codebooks."""
        return look_up(drawn, self.codebooks)


class VectorQuantizer(nn.Module):
    """K learnable embeddings of size D that all latents share (VQ-VAE), from U(-√(3/D), √(3/D)) at the start."""

    discrete = True

    def __init__(self, count: int, embeddings: int, size: int) -> None:
        super().__init__()
        self.inputs = self.outputs = count * size
        limit = (3 / size) ** 0.5
        self.embeddings = nn.Parameter(torch.empty(embeddings, size).uniform_(-limit, limit))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Latents:
        """Quantized latents of ``[B, n_z D]``; the decoder's gradient passes straight through."""
        quantized, indices = quantize_vectors(x.unflatten(1, (-1, self.embeddings.shape[1])), self.embeddings)
        quantized = quantized.flatten(1)
        return Latents(straight_through(x, quantized), indices, continuous=x, quantized=quantized)
