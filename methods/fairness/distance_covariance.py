"""Unbiased estimates of squared distance covariance, of one prediction and several attributes.

Everywhere ``x [n]`` is the prediction, n >= 4, and ``s [n, d, p]`` are the protected attributes, each in its own row of p
columns, zero where it has fewer. An estimate is about 0 for independent variables, and then negative half of the time: it must
not be clamped. The gradient flows to the prediction; attributes are data. Sums are taken in double precision (`in_double`):
they nearly cancel.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from regbench.methods.fairness.sorted_covariance import sorted_covariance
from regbench.methods.shared.numerics import in_double

Dependence = Literal["sum", "ccdcov", "jdcov"]

# Below, the estimates are undefined.
FEWEST = 4

# From so many samples on, scalars are sorted rather than compared pair by pair (benchmarks/distance_covariance.py).
SORTED_FROM = {"cpu": 256, "cuda": 1024}

# Distances that are worked on at once: as many as stay in a processor's cache, or as fill a GPU.
AT_ONCE = {"cpu": 2**16, "cuda": 2**24}


def estimate(kind: Dependence, x: Tensor, s: Tensor, widths: Sequence[int], c: float = 1.0) -> Tensor:
    """One of the estimates by its name.

    Args:
        kind: its name.
        x: predictions.
        s: attributes.
        widths: how many columns each attribute has ``[d]``.
        c: matters to ``jdcov`` alone.
    """
    if kind == "jdcov":
        return jdcov(x, s, c)
    return ccdcov(x, s) if kind == "ccdcov" and len(widths) > 1 else marginal(x, s, widths)


def marginal(x: Tensor, s: Tensor, widths: Sequence[int]) -> Tensor:
    """Σ_k ν²(x, s_k): the dependence on each attribute by itself, blind to what only several of them tell."""
    sort = len(x) >= SORTED_FROM.get(x.device.type, SORTED_FROM["cuda"])
    scalars = [k for k, width in enumerate(widths) if width == 1 and sort]
    others = [k for k, width in enumerate(widths) if width > 1 or not sort]
    total = x.new_zeros(())
    if scalars:
        total = total + sorted_covariance(x, s[:, scalars, 0].T).sum()
    if others:
        total = total + covariance(x[:, None], s[:, others].transpose(0, 1)).sum()
    return total


def ccdcov(x: Tensor, s: Tensor, block: int | None = None) -> Tensor:
    """ν²(x, [s_1; …; s_d]), concatenated: 0 in the population exactly where x is independent of all attributes together."""
    return covariance(x[:, None], s.flatten(1), block)


@in_double
def jdcov(x: Tensor, s: Tensor, c: float = 1.0, block: int | None = None) -> Tensor:
    """Joint distance covariance: Σ_ij Π_v (U^v_ij + c) / (n (n - 3)) - n c^(d+1) / (n - 3), v over x and s_1 … s_d.

    Expanded, it holds the covariances of all pairs of variables and the terms of all larger sets A, each times c^(d+1-|A|). In
    the population it is 0 where all variables are independent of each other: dependent attributes leave it positive.
    """
    n, joined = len(x), s.transpose(0, 1)  # [d, n, p]
    sums = row_sums(x[:, None], block), row_sums(joined, block)
    total = x.new_zeros(())
    for rows in _blocks(x, block):
        others = (centered(joined, sums[1], rows) + c).prod(0)
        total = total + ((centered(x[:, None], sums[0], rows) + c) * others).sum()
    return total / (n * (n - 3)) - n / (n - 3) * c ** (1 + len(joined))


@in_double
def covariance(x: Tensor, s: Tensor, block: int | None = None) -> Tensor:
    """ν²(x, s) = Σ_ij U^x_ij U^s_ij / (n (n - 3)) for ``x [n, q]`` and each of ``s [..., n, p]``, as ``[...]``.

    Multiplied out, so that nothing is centered:
    Σ U^x U^s = Σ D^x D^s - 2 Σ D^x_i· D^s_i· / (n - 2) + D^x_·· D^s_·· / ((n - 1) (n - 2)).
    """
    n, products, x_sums, s_sums = len(x), [], [], []
    for rows in _blocks(x, block):
        x_part, s_part = distances(x[rows], x), distances(s[..., rows, :], s)
        products.append((s_part.flatten(-2) @ x_part.flatten())[..., None])
        x_sums.append(x_part.sum(-1))
        s_sums.append(s_part.sum(-1))
    of_x, of_s = torch.cat(x_sums), torch.cat(s_sums, -1)
    cross = 2 * (of_s @ of_x) / (n - 2) - of_s.sum(-1) * of_x.sum() / ((n - 1) * (n - 2))
    return (torch.cat(products, -1).sum(-1) - cross) / (n * (n - 3))


@in_double
def correlation(x: Tensor, s: Tensor, block: int | None = None) -> Tensor:
    """ν²(x, S) / √(ν²(x, x) ν²(S, S)) of the concatenated attributes, at most 1, free of scale; 0 for a constant x."""
    joined = s.flatten(1)
    scale = covariance(x[:, None], x[:, None], block) * covariance(joined, joined, block)
    return torch.where(scale > 0, ccdcov(x, s, block) / scale.clamp(min=torch.finfo(x.dtype).tiny).sqrt(), 0.0)


def distances(v: Tensor, w: Tensor) -> Tensor:
    """‖v_i - w_j‖₂ for ``v [..., m, p]`` and ``w [..., n, p]``, as ``[..., m, n]``; where it is 0, so is its gradient."""
    if v.shape[-1] == 1:
        return (v - w.transpose(-2, -1)).abs()
    return torch.cdist(v, w, compute_mode="donot_use_mm_for_euclid_dist")


def row_sums(v: Tensor, block: int | None = None) -> Tensor:
    """Σ_j D_ij of ``v [..., n, p]``, as ``[..., n]``."""
    return torch.cat([distances(v[..., rows, :], v).sum(-1) for rows in _blocks(v, block)], -1)


def centered(v: Tensor, sums: Tensor, rows: slice = slice(None)) -> Tensor:
    """Rows of the U-centered distances of ``v [..., n, p]``, with the sign that lets products of three terms count.

    U_ij = D_i· / (n - 2) + D_·j / (n - 2) - D_ij - D_·· / ((n - 1) (n - 2)) for i ≠ j, and 0 on the diagonal.

    Args:
        v: the samples of one variable or several.
        sums: its row sums ``[..., n]``.
        rows: which ones.
    """
    n = v.shape[-2]
    total = sums.sum(-1)[..., None, None] / ((n - 1) * (n - 2))
    u = (sums[..., rows, None] + sums[..., None, :]) / (n - 2) - distances(v[..., rows, :], v) - total
    places = torch.arange(n, device=v.device)
    return u.masked_fill(places[rows, None] == places, 0.0)


def _blocks(v: Tensor, block: int | None) -> list[slice]:
    """Rows of ``v [..., n, p]`` or ``[n]``, a part at a time, so that memory is O(block · n); see ``AT_ONCE``."""
    n = v.shape[-2] if v.dim() > 1 else len(v)
    block = block or max(1, AT_ONCE.get(v.device.type, AT_ONCE["cpu"]) // n)
    return [slice(start, start + block) for start in range(0, n, block)]
