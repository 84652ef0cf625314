"""Agglomerative clustering via maximum incremental path integral (Zhang, Zhao, Wang, Pattern Recognition 2013), AC-PIC."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The kernel's width is doubled until every row's nearest one has at least this weight.
LEAST_WEIGHT = 1e-5
# What is left out of a sum over paths, relative to it.
REMAINDER = 1e-17


def path_integral_clusters(
    x: Floats, clusters: int, *, neighbours: int = 20, scale: float = 1.0, damping: float = 0.01
) -> Integers:
    """Merges clusters of a directed graph of neighbours until ``clusters`` are left; int64 ``[N]``, from 0.

    The graph has weights exp(-d² / σ²) to the K nearest rows and 1 to the row itself, each row divided by its sum: P. The path
    integral of a cluster C is S_C = 1ᵀ (I - z P_C)⁻¹ 1 / |C|², the sum over all paths inside it, where a step costs z. First,
    each row is joined with its nearest one. Then those two clusters are merged again and again for which paths through both
    add most: (1_A/|A|²)ᵀ (I - z P_AB)⁻¹ 1_A + (1_B/|B|²)ᵀ (I - z P_AB)⁻¹ 1_B - S_A - S_B, AB their union.

    Args:
        x: rows ``[N, D]``.
        clusters: K; where the graph has fewer clusters at the start, these are returned.
        neighbours: of each row.
        scale: a, with σ² = a times the mean squared distance to neighbours.
        damping: z, in (0, 1).
    """
    walk, nearest = transition_matrix(x, neighbours, scale)
    count, labels = connected_components(csr_array((np.ones(len(x)), (np.arange(len(x)), nearest)), (len(x), len(x))))
    members = [np.flatnonzero(labels == label) for label in range(count)]
    member = csr_array((np.ones(len(x)), (np.arange(len(x)), labels)), (len(x), count))
    between = (member.T @ walk @ member).toarray()
    linked = (between + between.T > 0) & ~np.eye(count, dtype=bool)
    inner = np.array([_path_integral(walk, rows, damping) for rows in members])
    gains = np.full((count, count), -np.inf)
    for one in range(count - 1):
        others = one + 1 + np.flatnonzero(linked[one, one + 1 :])
        gains[one, others] = _gains(walk, members, inner, one, others, damping)
    alive = np.ones(count, dtype=bool)
    for _ in range(count - clusters):
        one, other = map(int, np.unravel_index(gains.argmax(), gains.shape))
        if not linked[one, other]:
            # Parts of the graph that no path joins are all as far from each other.
            one, other = map(int, np.flatnonzero(alive)[:2])
        members[one] = np.concatenate([members[one], members[other]])
        inner[one] = _path_integral(walk, members[one], damping)
        linked[one] |= linked[other]
        linked[one, [one, other]] = False
        linked[:, one] = linked[one]
        for table, nothing in ((linked, False), (gains, -np.inf)):
            table[other], table[:, other] = nothing, nothing
        alive[other] = False
        others = np.flatnonzero(linked[one])
        found = _gains(walk, members, inner, one, others, damping)
        gains[np.minimum(one, others), np.maximum(one, others)] = found
    final = np.empty(len(x), dtype=np.int64)
    for label, cluster in enumerate(np.flatnonzero(alive)):
        final[members[cluster]] = label
    return final


def transition_matrix(x: Floats, neighbours: int, scale: float) -> tuple[csr_array, Integers]:
    """P, sparse ``[N, N]``, and each row's nearest other one ``[N]``."""
    squared = cdist(x, x, "sqeuclidean")
    np.fill_diagonal(squared, np.inf)
    neighbours = min(neighbours, len(x) - 1)
    places = np.argsort(squared, axis=1, kind="stable")[:, :neighbours]
    distances = np.take_along_axis(squared, places, axis=1)
    width = scale * distances.mean()
    while (np.exp(-distances[:, 0] / width) < LEAST_WEIGHT).any():
        width *= 2
    rows = np.arange(len(x)).repeat(neighbours + 1)
    columns = np.column_stack([np.arange(len(x)), places]).ravel()
    weights = np.column_stack([np.ones(len(x)), np.exp(-distances / width)])
    weights /= weights.sum(axis=1, keepdims=True)
    return csr_array((weights.ravel(), (rows, columns)), (len(x), len(x))), places[:, 0]


def _path_integral(walk: csr_array, rows: Integers, damping: float) -> float:
    """S_C of a cluster's rows."""
    inside = np.ones((len(rows), 1))
    return float(_path_sums(walk[rows][:, rows], inside, inside, damping).sum() / len(rows) ** 2)


def _gains(walk: csr_array, members: list[Integers], inner: Floats, one: int, others: Integers, damping: float) -> Floats:
    """What paths through both add for a cluster and each of several others ``[J]``, all at once."""
    if not len(others):
        return np.empty(0)
    parts = [members[one], *(members[other] for other in others)]
    sizes = np.array([len(part) for part in parts])
    rows, owner = np.concatenate(parts), np.arange(len(parts)).repeat(sizes)
    own = np.broadcast_to((owner == 0)[:, None], (len(rows), len(others)))
    theirs = owner[:, None] == 1 + np.arange(len(others))
    starts = np.hstack([own, theirs]).astype(np.float64)  # [R, 2 J]
    allowed = np.tile((own | theirs).astype(np.float64), 2)
    sums = (_path_sums(walk[rows][:, rows], starts, allowed, damping) * starts).sum(axis=0)
    first, second = np.split(sums, 2)
    return first / sizes[0] ** 2 + second / sizes[1:] ** 2 - inner[one] - inner[others]


def _path_sums(walk: csr_array, starts: Floats, allowed: Floats, damping: float) -> Floats:
    """(I - z P)⁻¹ of each column of ``starts``, with P cut down to the rows that are ``allowed`` in it: a sum over paths.

    P's rows sum to at most 1, so that the sum over z^k P^k is as exact as a number can be after a few terms.
    """
    total, step = starts.copy(), starts
    for _ in range(math.ceil(math.log(REMAINDER) / math.log(damping))):
        step = damping * allowed * (walk @ step)
        total += step
    return total
