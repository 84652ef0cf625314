"""Mutual information of every covariate with the outcome, in nats: all covariates at once, no loop over rows or covariates.

Estimators take covariates x ``[n, p]`` and an outcome y ``[n]``, and return ``[p]``, never negative. Chunks of covariates bound
the memory; they change no number beyond its rounding.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from scipy.special import digamma
from torch import Tensor

from regbench.methods.shared.data.sparse_problems import Outcome
from regbench.methods.sparse_regression.bandwidths import BANDWIDTHS, Bandwidth

Estimator = Literal["kde", "binning", "knn", "pearson"]

# Numbers in the largest temporary of a chunk; about the size of a processor's cache.
CHUNK_NUMBERS = 2**20
# Grid of a covariate given a class.
CLASS_GRID = 500
MOST_BINS = 99
NEIGHBOURS = 3
# Places after which rows that have their neighbours drop out.
DROP_EVERY = 16


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """-½ log(1 - ρ²): the mutual information of Gaussian variables with the sample's correlation."""
    x, y = x - x.mean(0), y - y.mean()
    rho = (y @ x) / (x.norm(dim=0) * y.norm()).clamp(min=torch.finfo(x.dtype).tiny)
    return -0.5 * torch.log1p(-rho.square().clamp(max=1 - torch.finfo(x.dtype).eps))


def linfoot(information: Tensor) -> Tensor:
    """√(1 - e^(-2I)): the size of the correlation that Gaussian variables of this mutual information have."""
    return (-torch.expm1(-2 * information)).sqrt()


def kde(x: Tensor, y: Tensor, bandwidth: Bandwidth = "silverman", multiplier: float = 1.0, grid: int = 300) -> Tensor:
    """By kernel density estimates on a grid (equation 1), convolved by fast Fourier transforms.

    Both variables are centred at their medians and divided by their interquartile ranges. The kernel is Epanechnikov's of the
    Euclidean norm of (Δx / h_x, Δy / h_y), of radius √5 (variance 1 on a line); the grid reaches one radius beyond the data, so
    that nothing wraps around. Cell masses are clipped at 0 and normalized. Biased by the bandwidth: trust ranks. The grid is in
    single precision, which is two to three times as fast and moves estimates by some 1e-6.

    Args:
        x: ``[n, p]``.
        y: continuous outcomes ``[n]``.
        bandwidth: rule for h of each coordinate.
        multiplier: of h.
        grid: points on each axis.
    """
    columns, outcome = robust_scale(x.T.contiguous()), robust_scale(y[None])
    radii = [5**0.5 * multiplier * BANDWIDTHS[bandwidth](v) for v in (columns, outcome)]
    y_place, y_step = _places(outcome, radii[1], grid)  # [1, n], [1, 1]
    offsets = torch.fft.fftfreq(grid, 1 / grid, device=x.device, dtype=x.dtype)
    y_kernel = (offsets * y_step / radii[1]).square().float()  # [1, G]
    found = []
    for v, radius in _chunks(columns, radii[0], numbers=2 * grid * grid):
        place, step = _places(v, radius, grid)
        weights = 1 - (offsets * step / radius).square().float()[:, :, None] - y_kernel[:, None, :]
        mass = _bin_linearly(place, y_place.expand_as(place), grid).float()
        spectrum = torch.fft.rfft2(mass) * torch.fft.rfft2(weights.clamp_(min=0))
        found.append(information_of(torch.fft.irfft2(spectrum, s=(grid, grid))).to(x.dtype))
    return torch.cat(found)


def kde_binary(x: Tensor, y: Tensor, bandwidth: Bandwidth = "silverman", multiplier: float = 1.0) -> Tensor:
    """By the densities of each covariate given the class, on a common grid of 500 points, times the classes' shares (2)."""
    columns = robust_scale(x.T.contiguous())
    inside = [columns[:, y == label] for label in (0, 1)]
    radii = torch.stack([5**0.5 * multiplier * BANDWIDTHS[bandwidth](v) for v in inside])  # [2, p, 1]
    low, high = columns.amin(1, keepdim=True) - radii.amax(0), columns.amax(1, keepdim=True) + radii.amax(0)
    step = (high - low) / (CLASS_GRID - 1)
    offsets = torch.fft.fftfreq(CLASS_GRID, 1 / CLASS_GRID, device=x.device, dtype=x.dtype)
    joint = []
    for v, radius in zip(inside, radii, strict=True):
        place = (v - low) / step
        floor = place.floor().clamp(max=CLASS_GRID - 2)
        mass = v.new_zeros(len(v), CLASS_GRID).scatter_add_(1, floor.long(), 1 - (place - floor))
        mass.scatter_add_(1, floor.long() + 1, place - floor)
        kernel = (1 - (offsets * step / radius).square()).clamp(min=0)
        density = torch.fft.irfft(torch.fft.rfft(mass) * torch.fft.rfft(kernel), n=CLASS_GRID).clamp(min=0)
        joint.append(v.shape[1] / len(y) * density / density.sum(1, keepdim=True))
    return information_of(torch.stack(joint, 2))


def binning(x: Tensor, y: Tensor) -> Tensor:
    """Plug-in of a two-dimensional histogram with equal-width bins, their numbers chosen for each variable by ``best_bins``.

    An outcome of two values has two bins.
    """
    outcome = y[None]
    two = bool(((y == y.amin()) | (y == y.amax())).all())
    bins_y = torch.full((1,), 2, device=y.device) if two else best_bins(outcome)
    cells_y = _cells(unit_range(outcome), bins_y)  # [1, n]
    size_y = int(bins_y)
    found = []
    for (v,) in _chunks(x.T.contiguous(), numbers=MOST_BINS * size_y):
        bins = best_bins(v)
        place = _cells(unit_range(v), bins[:, None]) * size_y + cells_y
        counts = v.new_zeros(len(v), MOST_BINS * size_y).scatter_add_(1, place, torch.ones_like(v))
        found.append(information_of(counts.view(-1, MOST_BINS, size_y)))
    return torch.cat(found)


def best_bins(v: Tensor) -> Tensor:
    """The D in 2 … 99 that maximizes Σ_j N_j log N_j + n log D - (D - 1 + (log D)^2.5) (Birgé and Rozenholc, 2006).

    Args:
        v: variables ``[p, n]``.

    Returns:
        int64 ``[p]``.
    """
    n, share = v.shape[1], unit_range(v)
    scores = []
    for count in range(2, MOST_BINS + 1):
        occupied = v.new_zeros(len(v), count).scatter_add_(1, _cells(share, count), torch.ones_like(v))
        penalty = count - 1 + math.log(count) ** 2.5
        scores.append(torch.xlogy(occupied, occupied).sum(1) + n * math.log(count) - penalty)
    return torch.stack(scores).argmax(0) + 2


def knn(x: Tensor, y: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """By k nearest neighbours of (x, y) in the maximum norm (Kraskov et al., 2004, first estimator).

    I = ψ(n) + ψ(k) - mean(ψ(n_x) + ψ(n_y)), where n_x, n_y count the rows, itself included, nearer in x, in y, than the
    k-th neighbour. Variables are divided by their standard deviations.

    Ties make the k-th distance 0 and the estimate meaningless, as for any such estimator: jitter rounded data first.
    """
    n = len(x)
    outcome = _unit_variance(y[None])[0]
    ranked = outcome.sort().values
    found = []
    for (v,) in _chunks(_unit_variance(x.T.contiguous()), numbers=4 * n):
        v, order = v.sort(1)
        w = outcome[order]
        # A little less than the distance, so that rounding never counts the neighbour itself.
        radius = _nearest(v, w, neighbours) * (1 - 1e-10)
        n_x = _count_within(v, v, radius)
        n_y = _count_within(ranked.expand_as(w).contiguous(), w, radius)
        found.append((torch.digamma(n_x) + torch.digamma(n_y)).mean(1))
    constant = float(digamma(n) + digamma(neighbours))
    return (constant - torch.cat(found)).clamp(min=0)


def knn_binary(x: Tensor, y: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """By k nearest neighbours within the class (Ross, 2014): I = ψ(n) + ψ(k) - mean ψ(n_class) - mean ψ(m).

    m counts the rows of both classes, itself included, that are nearer than the k-th neighbour of the own class.
    """
    n, columns = len(x), _unit_variance(x.T.contiguous())
    ranked = columns.sort(1).values
    total = columns.new_zeros(len(columns))
    for label in (0, 1):
        v = columns[:, y == label].sort(1).values  # [p, n_c]
        edge = v.new_full((len(v), neighbours), torch.inf)
        windows = torch.cat([-edge, v, edge], 1).unfold(1, 2 * neighbours + 1, 1)
        distance = (windows - v[:, :, None]).abs().topk(neighbours + 1, dim=2, largest=False).values[:, :, -1]
        m = _count_within(ranked, v, distance * (1 - 1e-10))
        total += torch.digamma(m).sum(1) + v.shape[1] * float(digamma(v.shape[1]))
    return (float(digamma(n) + digamma(neighbours)) - total / n).clamp(min=0)


def information_of(joint: Tensor) -> Tensor:
    """Σ J log(J / J_a J_b) of joint masses ``[p, A, B]``, clipped at 0 and normalized to 1 first; ``[p]``, at least 0."""
    joint = joint.clamp(min=0)
    joint = joint / joint.sum((1, 2), keepdim=True)
    rows, columns = joint.sum(2), joint.sum(1)
    entropies = torch.xlogy(rows, rows).sum(1) + torch.xlogy(columns, columns).sum(1)
    return (torch.xlogy(joint, joint).sum((1, 2)) - entropies).clamp(min=0)


def robust_scale(v: Tensor) -> Tensor:
    """(v - median) / interquartile range, along the last axis; where that range is 0, the standard deviation in its place."""
    low, middle, high = torch.quantile(v, v.new_tensor([0.25, 0.5, 0.75]), dim=-1, keepdim=True)
    spread = high - low
    spread = torch.where(spread > 0, spread, v.std(-1, correction=0, keepdim=True))
    return (v - middle) / torch.where(spread > 0, spread, 1.0)


def unit_range(v: Tensor) -> Tensor:
    """(v - min) / (max - min) along the last axis; 0 where it does not vary."""
    low, high = v.amin(-1, keepdim=True), v.amax(-1, keepdim=True)
    return (v - low) / torch.where(high > low, high - low, 1.0)


def _cells(share: Tensor, count: int | Tensor) -> Tensor:
    """The bin of each value in [0, 1] among equal ones; the last one holds 1."""
    return torch.minimum((share * count).long(), torch.as_tensor(count, device=share.device) - 1)


def _unit_variance(v: Tensor) -> Tensor:
    scale = v.std(-1, correction=0, keepdim=True)
    return v / torch.where(scale > 0, scale, 1.0)


def _chunks(*columns: Tensor, numbers: int) -> Iterator[tuple[Tensor, ...]]:
    """Parts of tensors along their first axis, such that ``numbers`` for each entry make no large temporary."""
    size = max(1, CHUNK_NUMBERS // numbers)
    return zip(*(column.split(size) for column in columns), strict=True)


def _places(v: Tensor, radius: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Where values ``[p, n]`` lie on a grid that reaches one radius beyond them, in steps, and these steps ``[p, 1]``."""
    low = v.amin(1, keepdim=True) - radius
    step = (v.amax(1, keepdim=True) + radius - low) / (grid - 1)
    return (v - low) / step, step


def _bin_linearly(a: Tensor, b: Tensor, grid: int) -> Tensor:
    """Masses ``[p, G, G]`` of points at places a, b ``[p, n]``, each shared among the four grid points around it."""
    low_a, low_b = (place.floor().clamp(max=grid - 2) for place in (a, b))
    up_a, up_b = a - low_a, b - low_b
    corner = (low_a * grid + low_b).long()
    mass = a.new_zeros(len(a), grid * grid)
    for offset, share in (
        (0, (1 - up_a) * (1 - up_b)),
        (1, (1 - up_a) * up_b),
        (grid, up_a * (1 - up_b)),
        (grid + 1, up_a * up_b),
    ):
        mass.scatter_add_(1, corner + offset, share)
    return mass.view(-1, grid, grid)


def _nearest(v: Tensor, w: Tensor, neighbours: int) -> Tensor:
    """The distance, in the maximum norm, of each row to its k-th neighbour ``[p, n]``.

    All rows look at once one place further along sorted v, to both sides, and drop out when nothing further can be nearer:
    after about √(kn) places each.

    Args:
        v: sorted values ``[p, n]``.
        w: the other coordinate of the same rows ``[p, n]``.
        neighbours: k < n.
    """
    n = v.shape[1]
    edge = torch.full_like(v, torch.inf)
    # Each sorted column stands between as many infinities, which no neighbour is.
    along, across = torch.cat([-edge, v, edge], 1).flatten(), torch.nn.functional.pad(w, (n, n)).flatten()
    place = (torch.arange(len(v), device=v.device)[:, None] * 3 * n + torch.arange(n, device=v.device)).flatten()
    here, there = v.flatten(), w.flatten()
    best = torch.full((neighbours, len(place)), torch.inf, dtype=v.dtype, device=v.device)
    radius, row = torch.empty_like(here), torch.arange(len(place), device=v.device)
    for offset in range(1, n):
        starts = n + offset, n - offset
        above, below = (along[start:].index_select(0, place) for start in starts)
        gaps = above.sub_(here), below.sub_(here).neg_()
        for gap, start in zip(gaps, starts, strict=True):
            distance = across[start:].index_select(0, place).sub_(there).abs_()
            torch.maximum(gap, distance, out=distance)
            for rank in range(neighbours - 1):
                nearer = torch.minimum(best[rank], distance)
                distance = torch.maximum(best[rank], distance)
                best[rank] = nearer
            torch.minimum(best[-1], distance, out=best[-1])
        if offset % DROP_EVERY == 0 or offset == n - 1:
            radius[row] = best[-1]
            (left,) = (best[-1] > torch.minimum(*gaps)).nonzero(as_tuple=True)
            if not len(left):
                break
            place, here, there, row, best = place[left], here[left], there[left], row[left], best[:, left]
    return radius.view_as(v)


def _count_within(ranked: Tensor, v: Tensor, radius: Tensor) -> Tensor:
    """How many of the sorted values ``[p, n]`` are within a radius of each v ``[p, m]``."""
    above = torch.searchsorted(ranked, v + radius, right=True)
    return (above - torch.searchsorted(ranked, v - radius)).to(v.dtype)


def mutual_information(
    x: Tensor,
    y: Tensor,
    outcome: Outcome,
    estimator: Estimator,
    *,
    bandwidth: Bandwidth = "silverman",
    multiplier: float = 1.0,
    grid: int = 300,
) -> Tensor:
    """The mutual information of each covariate with the outcome ``[p]``.

    Args:
        x: ``[n, p]``.
        y: ``[n]``; 0 or 1 where binary.
        outcome: continuous or binary.
        estimator: how it is estimated.
        bandwidth: rule of ``kde``.
        multiplier: of that bandwidth.
        grid: points on each axis of ``kde`` of a continuous outcome.
    """
    if estimator == "kde":
        if outcome == "binary":
            return kde_binary(x, y, bandwidth, multiplier)
        return kde(x, y, bandwidth, multiplier, grid)
    if estimator == "knn":
        return (knn_binary if outcome == "binary" else knn)(x, y)
    return binning(x, y) if estimator == "binning" else pearson(x, y)
