"""Mutual information of a layer with inputs and labels, by bins or noise that follow the layer's own range.

Chelombiev, Houghton, O'Donnell, "Adaptive Estimators Show Information Compression in Deep Neural Networks" (ICLR 2019,
arXiv 1902.09037). Networks are deterministic, so that information is a property of bins or noise: compare only what has as many
bins, the same noise and as many samples. In bits throughout.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from regbench.methods.shared.numerics import in_double

# Rows of a matrix of pairs that are held at once.
PAIR_ROWS = 1024

Bound = Literal["upper", "lower"]


def adaptive_edges(t: Tensor, bins: int = 30, low: float | None = None) -> Tensor:
    """Edges of entropy-based adaptive bins (EBAB) of all activities of a layer together: ``[bins + 2]``, ascending.

    low, then the unique values v without ``low`` at the places ⌊k M / bins⌋, k < bins, then their largest: zeros of ReLU
    have a bin of their own, the others hold as many unique values each, the largest value one of its own. Where a layer has no
    value but ``low``, that is all its edges.

    Args:
        t: activities ``[N, d]``.
        bins: n_b.
        low: a value that no activity is below: 0 for ReLU and softplus, -1.000001 for tanh and ELU in the released code; None:
            0 where no activity is below it, else just below the least.
    """
    if low is None:
        low = 0.0 if t.min() >= 0 else torch.nextafter(t.min(), t.new_tensor(-math.inf)).item()
    edge = t.new_tensor(low)
    values = t.unique()
    values = values[values != edge]
    if not len(values):
        return edge[None]
    # As the released code has it, ⌊k (M / bins)⌋ in floating point.
    places = [int(k * (len(values) / bins)) for k in range(bins)]
    return torch.cat([edge[None], values[places], values[-1:]])


def fixed_edges(low: float, high: float, bins: int) -> Tensor:
    """Edges of equal bins for all layers and epochs, which the paper argues against; float64 ``[bins + 1]``."""
    return torch.linspace(low, high, bins + 1, dtype=torch.float64)


def layer_states(t: Tensor, edges: Tensor) -> Tensor:
    """The state of a layer for each sample: the last edge that is not above each activity; int64 ``[N, d]``, from 0.

    Args:
        t: activities ``[N, d]``.
        edges: ascending; values below the first have state -1.
    """
    return torch.searchsorted(edges.to(t).contiguous(), t.contiguous(), right=True) - 1


def binned_information(t: Tensor, y: Tensor, edges: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """I(X; T̂) = H(T̂) - H(T̂ | X) and I(T̂; Y) = H(T̂) - H(T̂ | Y) of a layer's states.

    Args:
        t: activities ``[N, d]``.
        y: classes ``[N]``, whole numbers.
        edges: of the bins.
        x: numbers of the inputs ``[N]``, whole, equal where inputs are; None: all inputs differ, and H(T̂ | X) = 0.

    Returns:
        Two scalars, float64.
    """
    states = torch.unique(layer_states(t, edges), dim=0, return_inverse=True)[1]
    entropy = _entropy(states)
    given_x = torch.zeros_like(entropy) if x is None else _conditional(states, x)
    return entropy - given_x, entropy - _conditional(states, y)


def ebab(t: Tensor, y: Tensor, bins: int = 30, low: float | None = None, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """I(X; T) and I(T; Y) by entropy-based adaptive bins; see ``adaptive_edges`` and ``binned_information``.

    Any increasing map of the activities that leaves ``low`` where it is changes neither.
    """
    return binned_information(t, y, adaptive_edges(t, bins, low), x)


def _entropy(states: Tensor) -> Tensor:
    """H of numbers of states ``[N]``."""
    counts = torch.unique(states, return_counts=True)[1].double()
    return torch.special.entr(counts / counts.sum()).sum() / math.log(2)


def _conditional(states: Tensor, given: Tensor) -> Tensor:
    """H(state | given) = H(state, given) - H(given) of whole numbers ``[N]``."""
    given = torch.unique(given, return_inverse=True)[1]
    return _entropy(states * (given.max() + 1) + given) - _entropy(given)


@in_double
def kde_information(t: Tensor, variance: float | Tensor, bound: Bound = "upper", given: Tensor | None = None) -> Tensor:
    """A bound of the information between inputs and a layer with Gaussian noise (Kolchinsky, Tracey, 2017).

    -1/N Σ_i log₂ 1/N Σ_j exp(-‖t_i - t_j‖² / 2σ²) from above; from below the same with 8σ² in place of 2σ². Differentiable.

    Args:
        t: activities ``[N, d]``.
        variance: σ² > 0 of the noise.
        bound: ``upper`` (pairwise Kullback-Leibler) or ``lower`` (Bhattacharyya).
        given: classes ``[N]``; then Σ_c p(c) times the information within class c.

    Returns:
        A scalar between 0 and log₂ N.
    """
    width = (2 if bound == "upper" else 8) * variance
    t = t - t.mean(0)
    squares = t.square().sum(1)
    found = []
    for rows in torch.arange(len(t), device=t.device).split(PAIR_ROWS):
        distances = (squares[rows, None] + squares - 2 * t[rows] @ t.T).clamp(min=0)
        log_kernel = -distances / width
        others = torch.full_like(rows, len(t))
        if given is not None:
            same = given[rows, None] == given
            log_kernel, others = log_kernel.masked_fill(~same, -math.inf), same.sum(1)
        found.append(others.to(t).log() - log_kernel.logsumexp(1))
    return torch.cat(found).mean() / math.log(2)


def adaptive_variance(t: Tensor, scale: float = 0.01, power: int = 1) -> Tensor:
    """σ² = κ max |T|^power of activities ``[N, d]``, without gradient: noise in proportion to the layer's largest activity.

    ``power`` 1 is the paper's, read second-hand, with the variance in proportion; 2 makes information the same for any multiple
    of the activities. A layer without any activity has the noise of 1.
    """
    largest = t.detach().abs().max()
    return scale * torch.where(largest > 0, largest, 1.0) ** power


def adaptive_kde(t: Tensor, y: Tensor, scale: float = 0.01, *, power: int = 1, bound: Bound = "upper") -> tuple[Tensor, Tensor]:
    """I(X; T) and I(T; Y) = I(X; T) - Σ_c p(c) I(X; T | Y = c) by adaptive kernel density estimates (aKDE).

    The released code has a fixed noise alone, and two classes; here noise follows the layer, and all classes count.

    Args:
        t: activities ``[N, d]``.
        y: classes ``[N]``, whole numbers.
        scale: κ; see ``adaptive_variance``.
        power: see ``adaptive_variance``.
        bound: see ``kde_information``.

    Returns:
        Two scalars, computed in double precision and given in the type of ``t``.
    """
    variance = adaptive_variance(t, scale, power)
    about_x = kde_information(t, variance, bound)
    return about_x, about_x - kde_information(t, variance, bound, y)


def compression(information: Tensor) -> Tensor:
    """(max_e I_e - I_last) / max_e I_e of the information over training ``[…, E]``: in [0, 1], 0 where none is lost.

    The platform's own: the paper's compression score could not be read.
    """
    largest = information.amax(-1)
    return (largest - information[..., -1]) / torch.where(largest > 0, largest, 1.0)
