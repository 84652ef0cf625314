"""What `fairness.sorted_covariance.slopes` computes, compiled for CPUs, where tensor operations lose by their number.

Importing this module compiles it, which takes about two seconds the first time. So it is not in the folder of its track, all of
whose modules are imported to find methods.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def compiled(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``numba.njit`` for one signature, once for all processes where what it compiles can be kept, else once for each.

    Numba keeps it beside this file, or else in the user's folder for caches; in a container neither may be writable.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(signature, cache=True)(function)
        except RuntimeError:
            return njit(signature)(function)

    return decorate


def slopes(x: Floats, y: Floats) -> Floats:
    """The gradient of ν²(x, y_k) in ``x [n]``, as ``[d, n]``, for ``y [d, n]``; a pair of equal x has no part in it."""
    by_x = x.argsort()
    ascending = x[by_x]
    order = by_x[None]
    if _repeats(ascending):
        # Among equal x, each y has its own order.
        order = np.lexsort((y, np.broadcast_to(x, y.shape)))
    return _slopes(ascending, np.ascontiguousarray(y), order)


@compiled("boolean(float64[::1])")
def _repeats(ascending: Floats) -> bool:
    """Whether there are equal values."""
    for i in range(1, len(ascending)):  # noqa: SIM110 - Numba compiles no generators
        if ascending[i] == ascending[i - 1]:
            return True
    return False


@compiled("Tuple((int64[::1], float64[::1]))(float64[::1])")
def _merge_sort(y: Floats) -> tuple[Places, Floats]:
    """The order of y, and Σ (y_i - y_j) over all j with y_j <= y_i that stand before i.

    When a run is merged with the one after it, all that an element of the later run covers in the earlier is merged before it.
    """
    n = len(y)
    order, merged, covered = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    for i in range(n):
        order[i], covered[i] = i, 0.0
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            left, place, below = start, start, 0.0
            for right in range(middle, end):
                i = order[right]
                while left < middle and y[order[left]] <= y[i]:
                    below += y[order[left]]
                    merged[place] = order[left]
                    left += 1
                    place += 1
                covered[i] += (left - start) * y[i] - below
                merged[place] = i
                place += 1
            for rest in range(left, middle):
                merged[place] = order[rest]
                place += 1
        order, merged = merged, order
        width *= 2
    return order, covered


@compiled("float64[:, ::1](float64[::1], float64[:, ::1], int64[:, ::1])")
def _slopes(x: Floats, y: Floats, order: Places) -> Floats:
    """See `slopes`.

    Args:
        x: ascending ``[n]``.
        y: not sorted ``[d, n]``.
        order: that of x, and among equal x that of y, one for all y or one for each ``[1 or d, n]``.
    """
    d, n = y.shape
    w = np.empty((d, n))
    values, rows = np.empty(n), np.empty(n)
    for k in range(d):
        places = order[min(k, len(order) - 1)]
        mean = 0.0
        for value in y[k]:
            mean += value / n
        for i in range(n):
            values[i] = y[k, places[i]] - mean
        ascending, covered = _merge_sort(values)
        prefix, total = 0.0, 0.0
        for rank in range(n):
            i = ascending[rank]
            rows[i] = values[i] * (2 * rank - n) - 2 * prefix  # Σ_j |y_i - y_j|, since Σ y = 0
            prefix += values[i]
            total += rows[i]
        first, y_before, rows_before = 0, 0.0, 0.0
        while first < n:
            last, y_equal, rows_equal = first, 0.0, 0.0
            while last < n and (last == first or x[last] == x[first]):
                y_equal += values[last]
                rows_equal += rows[last]
                last += 1
            surplus = first - (n - last)
            prefix = y_before
            for i in range(first, last):
                before = 2 * covered[i] - (i * values[i] - prefix)  # Σ |y_i - y_j| over all j before i
                equal = (last - first) * values[i] - y_equal
                signed_rows = rows[i] * surplus + rows_before - (total - rows_before - rows_equal)
                differences = 2 * before - rows[i] - equal
                sums = signed_rows / (n - 2) - total * surplus / ((n - 1) * (n - 2))
                w[k, places[i]] = (differences - sums) * (2 / (n * (n - 3)))
                prefix += values[i]
            first, y_before, rows_before = last, y_before + y_equal, rows_before + rows_equal
    return w
