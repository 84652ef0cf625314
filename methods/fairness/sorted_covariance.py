"""The same unbiased squared distance covariance of scalars in O(n log n) instead of O(n²) steps.

On CPUs a compiled function sorts (`shared.kernels.covariance_slopes`); elsewhere tensor operations do, which lose there by
their number.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

# Elements that are compared pair by pair rather than split further, and into how many parts others are split at once.
LEAF = 32
PARTS = 8


def sorted_covariance(x: Tensor, y: Tensor) -> Tensor:
    """ν²(x, y_k) of scalars ``x [n]`` and each of ``y [d, n]``, as ``[d]``; the gradient flows to x alone.

    Σ_ij |x_i - x_j| m_ij = Σ_i x_i w_i with w_i = 2 Σ_j sign(x_i - x_j) m_ij, for any symmetric m: the estimate is linear in x
    for as long as the order of x stays, and w is its gradient, which costs nothing more. Sums are taken in float64.
    """
    values = x.double()
    w = (_compiled() if x.device.type == "cpu" else slopes)(values.detach(), y.detach().double())
    return (w @ values).to(x.dtype)


@cache
def _compiled() -> Callable[[Tensor, Tensor], Tensor]:
    """`slopes` on CPUs."""
    # Compiling takes two seconds: only for who sorts.
    from regbench.methods.shared.kernels import covariance_slopes

    return lambda x, y: torch.from_numpy(covariance_slopes.slopes(x.numpy(), y.numpy()))


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """The gradient of ν²(x, y_k) in ``x [n]``, as ``[d, n]``, for ``y [d, n]``; a pair of equal x has no part in it.

    With m = -U^y / (n (n - 3)), sums over sign(x_i - x_j) |y_i - y_j| come from `dominated`, the others from prefix sums.
    """
    n = len(x)
    y, by_y = y.sort(-1)
    center = y.mean(-1, keepdim=True)
    y = y - center
    rank = torch.arange(n, device=x.device, dtype=y.dtype)
    prefix = y.cumsum(-1)
    # Σ_j |y_i - y_j|, i in the order of y; Σ y = 0.
    rows = y * (2 * rank - n) - 2 * (prefix - y)
    total = rows.sum(-1, keepdim=True)

    # The order of x, and among equal x that of y.
    x_sorted, by_x = x[by_y].sort(dim=-1, stable=True)
    place = torch.empty_like(by_x).scatter_(-1, by_x, torch.arange(n, device=x.device).expand_as(by_x))
    covered = dominated(y, place).gather(-1, by_x)
    y, rows, order = y.gather(-1, by_x), rows.gather(-1, by_x), by_y.gather(-1, by_x)
    # Where equal x begin and end; sorted, x is the same in each row.
    _, group, size = x_sorted[0].unique_consecutive(return_inverse=True, return_counts=True)
    last = size.cumsum(0)[group]
    first = last - size[group]
    sum_y, sum_rows = (torch.nn.functional.pad(values.cumsum(-1), (1, 0)) for values in (y, rows))

    before = 2 * covered - (rank * y - sum_y[..., :-1])  # Σ |y_i - y_j| over all j before i
    equal = (last - first) * y - (sum_y[..., last] - sum_y[..., first])
    differences = 2 * before - rows - equal
    surplus = first - (n - last)
    signed_rows = rows * surplus + sum_rows[..., first] - (total - sum_rows[..., last])
    w = differences - signed_rows / (n - 2) + total * surplus / ((n - 1) * (n - 2))
    return torch.empty_like(w).scatter_(-1, order, w) * (2 / (n * (n - 3)))


def dominated(y: Tensor, place: Tensor) -> Tensor:
    """Σ (y_i - y_j) over all j with y_j <= y_i that stand before i, as ``[d, n]``.

    Splits the places into parts, these into parts and so on. Within a part elements stay in the order of y, so that prefix sums
    over those of earlier parts give all that an element needs: O(n) for each of the log n splits.

    Args:
        y: ascending ``[d, n]``.
        place: where each stands ``[d, n]``, a permutation of 0 … n - 1 in each row.
    """
    d, n = y.shape
    size = LEAF
    while size < n:
        size *= 2
    # What fills up stands behind all others and so before none of them.
    behind = torch.arange(n, size, device=y.device).expand(d, -1)
    place = torch.cat([place, behind], -1)
    y = torch.nn.functional.pad(y, (0, size - n))
    at = torch.empty_like(y).scatter_(-1, place, y).view(-1, LEAF)
    found = (at[:, :, None] - at[:, None, :]).clamp_(min=0).tril_().sum(-1).view(-1)
    first = place = (place + size * torch.arange(d, device=y.device)[:, None]).view(-1)
    y = y.view(-1)
    while size > LEAF:
        count = min(PARTS, size // LEAF)
        child = size // count
        y = y.view(-1, 1, size)
        part = (place // child % count).view(-1, 1, size)
        earlier = part < torch.arange(count, device=y.device)[:, None]  # [blocks, count, size]
        number = earlier.cumsum(-1, dtype=y.dtype).gather(1, part)
        found.index_add_(0, place, (y * number - (y * earlier).cumsum(-1).gather(1, part)).view(-1))
        size = child
        if size > LEAF:
            order = part.sort(dim=-1, stable=True)[1]
            y, place = y.gather(-1, order), place.view_as(y).gather(-1, order).view(-1)
    return found[first].view(d, -1)[:, :n]
