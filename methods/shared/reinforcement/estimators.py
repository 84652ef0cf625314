"""What several samples a problem tell: whether one of k is right, and whether a vote of k is."""

import itertools
import math

import torch
from torch import Tensor

# Random subsets over which a vote is averaged where there are more.
SUBSETS = 200


def pass_at_k(correct: Tensor, samples: int, k: int) -> Tensor:
    """1 - C(n - c, k) / C(n, k) of c right samples among n: without bias, that of k samples at least one is right.

    As 1 - Π_{j<k} (n - c - j) / (n - j); 1 where n - c < k.

    Args:
        correct: c ``[...]``.
        samples: n.
        k: at most n.

    Returns:
        Float64 ``[...]``.
    """
    j = torch.arange(k, device=correct.device, dtype=torch.float64)
    factors = ((samples - correct[..., None].double() - j) / (samples - j)).clamp_min(0)
    return 1 - factors.prod(-1)


def majority_at_k(answers: Tensor, truth: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """How often the majority of k answers is right: the mean over subsets, ties being split evenly.

    Over all subsets where they are few, over 200 random ones otherwise. Without any vote the answer is wrong.

    Args:
        answers: ``[M, n]`` of n samples, int64; below 0: no vote.
        truth: the right answers ``[M]``, from 0.
        k: voters, at most n.
        generator: draws the subsets; on the device of the answers.

    Returns:
        Float64 ``[M]``.
    """
    count, samples = answers.shape
    if math.comb(samples, k) <= SUBSETS:
        every = list(itertools.combinations(range(samples), k))
        subsets = torch.tensor(every, device=answers.device)[None].expand(count, -1, -1)
    else:
        order = torch.rand(count, SUBSETS, samples, generator=generator, device=answers.device)
        subsets = order.argsort(2)[..., :k]
    votes = answers[:, None].expand(-1, subsets.shape[1], -1).gather(2, subsets)
    counts = torch.zeros(*subsets.shape[:2], int(max(answers.max(), truth.max())) + 1, device=answers.device)
    counts.scatter_add_(2, votes.clamp_min(0), (votes >= 0).to(counts.dtype))
    most = counts.max(2, keepdim=True).values
    winners = (counts == most) & (most > 0)
    right = winners.gather(2, truth[:, None, None].expand(-1, subsets.shape[1], 1))[..., 0]
    return (right.double() / winners.sum(2).clamp_min(1)).mean(1)
