"""Greedy decision trees whose splits may be scored by more than the information that they gain about the label."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Release = Literal["label", "sampled"]


@dataclass(frozen=True)
class Tree:
    """A binary tree of M nodes, the first of which is the root; rows go to the left where a column is at most a threshold.

    Attributes:
        column: of each node's split ``[M]``, int64; -1 at a leaf.
        threshold: of each node's split ``[M]``.
        children: left and right node ``[M, 2]``; a leaf's are itself.
        counts: training rows of each class at each node ``[M, K]``.
    """

    column: Tensor
    threshold: Tensor
    children: Tensor
    counts: Tensor

    def leaves(self, x: Tensor) -> Tensor:
        """The leaf of each row ``[N]``, for rows ``[N, F]``."""
        node = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        while (self.column[node] >= 0).any():
            values = x.gather(1, self.column[node].clamp(min=0)[:, None])[:, 0]
            node = self.children[node, (values > self.threshold[node]).long()]
        return node


@dataclass(frozen=True)
class _Splits:
    """Every split of a leaf that its rows allow.

    Attributes:
        left, right: counts of the classes in its parts ``[S, K]``.
        gain: of information about the label ``[S]``, weighted by the leaf's mass.
        column: ``[S]``.
        threshold: ``[S]``.
    """

    left: Tensor
    right: Tensor
    gain: Tensor
    column: Tensor
    threshold: Tensor


def grow(
    x: Tensor, y: Tensor, classes: int, penalty: float, *, release: Release, max_leaves: int, max_depth: int, min_rows: int
) -> Tree:
    """Splits the leaf and column with the best score, until no score is positive or a limit is met (eq. 8).

    The score is the gain in I(leaf; Y) minus the penalty times the increase of I(X; Ŷ), see ``information``.

    Args:
        x: rows ``[N, F]``, float64.
        y: labels ``[N]``, int64.
        classes: K.
        penalty: λ.
        release: what a leaf releases.
        max_leaves: limits the leaves.
        max_depth: limits the splits above a leaf.
        min_rows: least number of rows in a leaf.
    """
    hot = one_hot(y, classes).to(x)
    counts = [hot.sum(0)]
    column, threshold, children, depth = [-1], [0.0], [[0, 0]], [0]
    rows = {0: torch.arange(len(x), device=x.device)}
    splits = {0: _splits(x, hot, min_rows, len(x))} if max_depth else {}
    while splits and len(rows) < max_leaves:
        now = torch.stack([counts[leaf] for leaf in rows])  # [L, K]
        best = max(
            ((leaf, *_best(found, counts[leaf], now, penalty, release)) for leaf, found in splits.items()),
            key=lambda candidate: candidate[1],
        )
        leaf, score, place = best
        if score <= 0:
            break
        found = splits.pop(leaf)
        column[leaf], threshold[leaf] = int(found.column[place]), float(found.threshold[place])
        inside = rows.pop(leaf)
        right = x[inside, column[leaf]] > threshold[leaf]
        children[leaf] = [len(counts), len(counts) + 1]
        for part in (inside[~right], inside[right]):
            child = len(counts)
            counts.append(hot[part].sum(0))
            column.append(-1)
            threshold.append(0.0)
            children.append([child, child])
            depth.append(depth[leaf] + 1)
            rows[child] = part
            if depth[child] < max_depth and len(part) >= 2 * min_rows:
                splits[child] = _splits(x[part], hot[part], min_rows, len(x))
    return Tree(
        torch.tensor(column, device=x.device),
        torch.tensor(threshold, dtype=x.dtype, device=x.device),
        torch.tensor(children, device=x.device),
        torch.stack(counts),
    )


def information(counts: Tensor, release: Release) -> Tensor:
    """I(X; Ŷ) in nats of leaves with counts ``[…, L, K]``.

    A leaf that releases its most frequent label: H(Ŷ). One that draws from its frequencies: H(Ŷ) - Σ_l p_l H(Ŷ | l).
    """
    mass = counts.sum((-2, -1), keepdim=True)
    if release == "label":
        return entropy(_released(counts).sum(-2) / mass[..., 0])
    weight = counts.sum(-1) / mass[..., 0]  # […, L]
    return entropy(counts.sum(-2) / mass[..., 0]) - (weight * entropy(counts / counts.sum(-1, keepdim=True))).sum(-1)


def entropy(p: Tensor) -> Tensor:
    """-Σ p log p in nats over the last axis."""
    return -torch.xlogy(p, p).sum(-1)


def _released(counts: Tensor) -> Tensor:
    """Each leaf's rows at its most frequent class ``[…, L, K]``."""
    return one_hot(counts.argmax(-1), counts.shape[-1]) * counts.sum(-1, keepdim=True)


def _splits(x: Tensor, hot: Tensor, min_rows: int, total: int) -> _Splits:
    """The splits between neighbouring values of every column."""
    values, order = x.sort(dim=0)  # [n, F]
    left = hot[order].cumsum(0)[:-1]  # [n - 1, F, K]
    right = hot.sum(0) - left
    allowed = (values[1:] > values[:-1]) & (torch.minimum(left.sum(2), right.sum(2)) >= min_rows)
    place, column = allowed.nonzero(as_tuple=True)
    left, right = left[place, column], right[place, column]  # [S, K]
    own = hot.sum(0)
    spread = [part.sum(1) * entropy(part / part.sum(1, keepdim=True)) for part in (left, right)]
    gain = (len(x) * entropy(own / own.sum()) - spread[0] - spread[1]) / total
    return _Splits(left, right, gain, column, (values[place, column] + values[place + 1, column]) / 2)


def _best(found: _Splits, own: Tensor, leaves: Tensor, penalty: float, release: Release) -> tuple[float, int]:
    """The largest score among a leaf's splits, and its place; -inf where there is none.

    Args:
        found: the splits.
        own: the leaf's counts ``[K]``.
        leaves: counts of all leaves ``[L, K]``.
        penalty: λ.
        release: what a leaf releases.
    """
    if not len(found.gain):
        return -torch.inf, 0
    if release == "label":
        others = _released(leaves).sum(0) - _released(own)
        after = others + _released(found.left) + _released(found.right)  # [S, K]
        increase = entropy(after / leaves.sum()) - information(leaves, release)
    else:
        # What is released has the label's distribution in every leaf, before and after: the information is that on the label.
        increase = found.gain
    score = found.gain - penalty * increase
    place = int(score.argmax())
    return float(score[place]), place
