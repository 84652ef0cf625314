"""Diffusion spectral entropy (DSE) and mutual information (DSMI) of representations, without bins.

Liao et al., "Assessing Neural Network Representations During Training Using Noise-Resilient Diffusion Spectral Entropy"
(arXiv 2312.04823): the Shannon entropy of the spectrum of a random walk on the points of a representation. In bits throughout.
"""

import math
import random
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from regbench.methods.shared.information.classes import classes_of, spectral_clusters
from regbench.methods.shared.numerics import in_double

Form = Literal["released", "anisotropic"]
Algorithm = Literal["dense", "low_rank"]

# Eigenvalues that the low-rank algorithm takes first.
FIRST_RANK = 32


def diffusion_matrix(z: Tensor, sigma: float | Tensor = 10.0, form: Form = "released") -> Tensor:
    """A symmetric matrix with the eigenvalues of a random walk's transitions; all lie in [0, 1], the largest is 1.

    G_ij = exp(-‖z_i - z_j‖² / 2σ²) and K = D^(-1/2) G D^(-1/2), D = diag(G 1). K, which the released code takes the eigenvalues
    of, is similar to D⁻¹ G, the plain walk on G. The walk that the paper describes, P = D_K⁻¹ K with D_K = diag(K 1), has the
    eigenvalues of D_K^(-1/2) K D_K^(-1/2); both agree where all points have the same degree.

    Args:
        z: points ``[…, N, D]``; batches are independent.
        sigma: σ > 0, bandwidth of the Gaussian kernel.
        form: ``released`` (of K) or ``anisotropic`` (of P).

    Returns:
        ``[…, N, N]``.
    """
    log_kernel = -squared_distances(z) / (2 * sigma**2)
    kernel = _normalized(log_kernel.exp())
    return kernel if form == "released" else _normalized(kernel)


def walk(z: Tensor, sigma: float | Tensor = 10.0) -> Tensor:
    """P = D_K⁻¹ K ``[N, N]``, the transitions of the anisotropic walk on points ``[N, D]``; rows sum to 1."""
    kernel = diffusion_matrix(z, sigma)
    return kernel / kernel.sum(-1, keepdim=True)


def squared_distances(z: Tensor) -> Tensor:
    """‖z_i - z_j‖² ``[…, N, N]`` of points ``[…, N, D]``: symmetric, not below 0, exactly 0 on the diagonal."""
    # About their mean, points lose no digits to a common offset.
    z = z - z.mean(-2, keepdim=True)
    gram = z @ z.mT
    squares = gram.diagonal(dim1=-2, dim2=-1)
    return (squares[..., :, None] + squares[..., None, :] - gram - gram.mT).clamp(min=0)


def _normalized(kernel: Tensor) -> Tensor:
    """D^(-1/2) G D^(-1/2)."""
    scale = kernel.sum(-1).rsqrt()
    return scale[..., :, None] * kernel * scale[..., None, :]


@in_double
def spectral_entropy(eigenvalues: Tensor, t: float | Tensor = 1.0) -> Tensor:
    """-Σ α_i log₂ α_i with α_i = |λ_i|^t / Σ_j |λ_j|^t (equation 6).

    Args:
        eigenvalues: λ ``[…, N]``, not all 0.
        t: diffusion time, a positive real.

    Returns:
        ``[…]``, between 0 and log₂ N.
    """
    # Below this, eigenvalues are rounding, and the slope of their logarithm would be too.
    powers = eigenvalues.abs().clamp(min=torch.finfo(eigenvalues.dtype).eps) ** t
    alpha = powers / powers.sum(-1, keepdim=True)
    return torch.special.entr(alpha).sum(-1) / math.log(2)


@in_double
def diffusion_spectral_entropy(
    z: Tensor,
    sigma: float | Tensor = 10.0,
    t: float | Tensor = 1.0,
    *,
    form: Form = "released",
    algorithm: Algorithm = "dense",
    tolerance: float = 1e-6,
) -> Tensor:
    """DSE, S_D(Z), of points (equation 6): between 0, all points alike, and log₂ N, all far apart.

    ``dense`` takes all eigenvalues, in O(N³), and is differentiable; its gradient is defined where eigenvalues coincide.
    ``low_rank`` takes the largest ones alone, as many as leave at most ``tolerance`` of Σ λᵗ, which traces tell: see
    ``leading_eigenvalues``. It is exact up to ``low_rank_error(N, tolerance)``, and up to rounding where few points differ. It
    pays for a thousand points and more, where few eigenvalues count: the lower the entropy, and the larger t.

    Args:
        z: points ``[…, N, D]``, N > 0; ``low_rank`` takes ``[N, D]``.
        sigma: σ, bandwidth of the Gaussian kernel.
        t: diffusion time.
        form: see ``diffusion_matrix``.
        algorithm: ``dense`` or ``low_rank``.
        tolerance: share of Σ λᵗ that ``low_rank`` may leave out.

    Returns:
        ``[…]``, in bits, computed in double precision and given in the type of ``z``.

    Raises:
        ValueError: ``low_rank`` with t < 1.
    """
    matrix = diffusion_matrix(z, sigma, form)
    if algorithm == "dense":
        return spectral_entropy(torch.linalg.eigvalsh(matrix), t)
    if t < 1:
        raise ValueError(f"low_rank leaves out small eigenvalues, which count with t={t}: use dense, or t >= 1")
    return spectral_entropy(leading_eigenvalues(matrix, tolerance, float(t)), t)


def leading_eigenvalues(matrix: Tensor, tolerance: float, t: float = 1.0) -> Tensor:
    """So many of the largest eigenvalues, from below, that Σ λᵗ over all exceeds theirs by at most a share ``tolerance``.

    They are those of QᵀAQ, with Q spanning A³Ω of a Gaussian Ω ``[N, r]`` (subspace iteration: Halko, Martinsson, Tropp,
    "Finding structure with randomness", 2011), none of which exceeds its own of A (Cauchy). What they miss is known from
    traces: with p = 1, or p = 2 where t ≥ 2, and λ ≤ 1, λᵗ - μᵗ ≤ t/p (λᵖ - μᵖ), whose sum is t/p (tr Aᵖ - Σ μᵖ). The rank is
    doubled until that is little enough; beyond a sixteenth of all, all are taken, which is then faster.

    Args:
        matrix: A ``[N, N]``, symmetric, with eigenvalues in [0, 1].
        tolerance: share of Σ λᵗ.
        t: at least 1.
    """
    count, rank, p = len(matrix), FIRST_RANK, 2 if t >= 2 else 1
    trace = matrix.square().sum() if p == 2 else matrix.trace()
    stream = torch.Generator(matrix.device).manual_seed(0)
    while 16 * rank <= count:
        basis = torch.randn(count, rank, generator=stream, dtype=matrix.dtype, device=matrix.device)
        for _ in range(3):
            basis = torch.linalg.qr(matrix @ basis).Q
        found = torch.linalg.eigvalsh(basis.T @ matrix @ basis).clamp(min=0)
        if t / p * (trace - (found**p).sum()) <= tolerance * (found**t).sum():
            return found
        rank *= 2
    return torch.linalg.eigvalsh(matrix)


def low_rank_error(count: int, tolerance: float) -> float:
    """How far DSE by ``low_rank`` can be from its value, bits.

    As no eigenvalue found exceeds its own, both distributions α have all but T = ``tolerance`` in common, and then their
    entropies differ by at most T log₂(N - 1) + h(T) (Audenaert, "A sharp continuity estimate for the von Neumann entropy",
    2007).
    """
    if count < 2 or tolerance <= 0:
        return 0.0
    binary = -tolerance * math.log2(tolerance) - (1 - tolerance) * math.log2(1 - tolerance)
    return tolerance * math.log2(count - 1) + binary


@in_double
def collision_entropy(z: Tensor, sigma: float | Tensor = 10.0, t: int = 1, *, form: Form = "released") -> Tensor:
    """The Rényi entropy of order 2 of the same spectrum, by traces of powers: 2 log₂ tr Kᵗ - log₂ tr K²ᵗ.

    Without eigenvalues, in O(N²) for t = 1 and some products of matrices for t > 1. It never exceeds DSE, and is DSE where all
    eigenvalues that are not 0 are equal: k tight clusters far apart have log₂ k in both.

    Args:
        z: points ``[…, N, D]``.
        sigma: σ, bandwidth of the Gaussian kernel.
        t: diffusion time, a whole number from 1.
        form: see ``diffusion_matrix``.
    """
    power = torch.linalg.matrix_power(diffusion_matrix(z, sigma, form), t)
    trace = power.diagonal(dim1=-2, dim2=-1).sum(-1)
    return 2 * trace.log2() - power.square().sum((-2, -1)).log2()


@in_double
def matrix_entry_entropy(z: Tensor, sigma: float | Tensor = 10.0) -> Tensor:
    """The entropy of the entries P_ij / Σ P of the anisotropic walk on points ``[N, D]``, an option of the released code."""
    entries = walk(z, sigma).flatten()
    return torch.special.entr(entries / entries.sum()).sum() / math.log(2)


@in_double
def binned_entropy(z: Tensor, bins: int = 2) -> Tensor:
    """The classic Shannon entropy of points ``[N, D]``, each dimension in equal bins between its extremes, all jointly.

    As in the released code, the largest value of a dimension falls into the last bin; a constant dimension tells nothing.
    """
    low, high = z.amin(0), z.amax(0)
    scaled = (z - low) / torch.where(high > low, high - low, 1.0)
    # As the code's edges k / bins: a value at an edge belongs to the bin that begins there.
    edges = torch.linspace(0, 1, bins + 1, dtype=z.dtype, device=z.device)[1:-1]
    states = torch.bucketize(scaled.contiguous(), edges, right=True)
    counts = torch.unique(states, dim=0, return_counts=True)[1].to(z)
    return torch.special.entr(counts / len(z)).sum() / math.log(2)


@in_double
def diffusion_spectral_information(
    z: Tensor,
    y: Tensor,
    sigma: float | Tensor = 10.0,
    t: float | Tensor = 1.0,
    *,
    clusters: int = 10,
    repetitions: int = 5,
    seed: int = 0,
    form: Form = "released",
) -> Tensor:
    """DSMI, I_D(Z; Y) = Σ_y n_y / n (S_D(Z*) - S_D(Z | Y = y)), equation 7 as the released code estimates it.

    Because S_D grows with the number of points, the unconditional entropy is taken anew for each class, as the mean over random
    subsets Z* of as many points as the class has. It may be below 0. With one class it is 0.

    Args:
        z: points ``[N, D]``.
        y: classes ``[N]``, whole numbers; or real numbers ``[N]``, put into equal bins; or vectors ``[N, M]``, clustered.
        sigma: σ, bandwidth of the Gaussian kernel.
        t: diffusion time.
        clusters: bins or clusters of a ``y`` that is not discrete; see ``classes_of`` and ``spectral_clusters``.
        repetitions: random subsets of each size.
        seed: of the subsets, which are those of the released code for the same seed; classes of one size share them.
        form: see ``diffusion_matrix``.

    Returns:
        A scalar, in bits.
    """
    if y.dim() > 1 and y.shape[1] > 1:
        classes = spectral_clusters(y, clusters)
    else:
        classes = classes_of(y.flatten(), clusters)
    return subset_information(z, classes, lambda part: _entropies(part, sigma, t, form), repetitions, seed)


@in_double
def classic_information(z: Tensor, y: Tensor, bins: int = 2, repetitions: int = 5, seed: int = 0) -> Tensor:
    """The same with ``binned_entropy``, the released code's CSMI; in many dimensions nearly 0, each point in a bin of its own.

    Args:
        z: points ``[N, D]``.
        y: classes ``[N]``, or numbers to be binned.
        bins: of each dimension.
        repetitions: random subsets of each size.
        seed: of the subsets.
    """
    return subset_information(
        z, classes_of(y), lambda parts: torch.stack([binned_entropy(part, bins) for part in parts]), repetitions, seed
    )


def subset_information(
    z: Tensor, classes: Tensor, entropies: Callable[[Tensor], Tensor], repetitions: int = 5, seed: int = 0
) -> Tensor:
    """The information that classes give about points, by an entropy that depends on how many points there are.

    Args:
        z: points ``[N, D]``.
        classes: ``[N]``, int64.
        entropies: of batches of points ``[R, n, D]``; ``[R]``.
        repetitions: random subsets of each class's size.
        seed: of the subsets.
    """
    members = [(classes == label).nonzero()[:, 0] for label in classes.unique()]
    # All classes of a size at once, with the subsets that they share.
    total = z.new_zeros(())
    for size in sorted({len(rows) for rows in members}):
        own = [rows for rows in members if len(rows) == size]
        subsets = random_subsets(len(z), size, repetitions, seed).to(z.device)
        found = entropies(z[torch.cat([torch.stack(own), subsets])])
        total = total + size / len(z) * (len(own) * found[len(own) :].mean() - found[: len(own)].sum())
    return total


@cache
def random_subsets(count: int, size: int, repetitions: int, seed: int) -> Tensor:
    """Indices ``[R, size]`` below ``count``, without replacement, of Python's generator seeded once: the released code's."""
    stream = random.Random(seed)
    return torch.tensor([stream.sample(range(count), k=size) for _ in range(repetitions)])


def _entropies(z: Tensor, sigma: float | Tensor, t: float | Tensor, form: Form) -> Tensor:
    return spectral_entropy(torch.linalg.eigvalsh(diffusion_matrix(z, sigma, form)), t)
