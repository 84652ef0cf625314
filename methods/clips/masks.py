"""Which frames of a clip are given and which count: the two masks, their patterns, and how hard a pattern is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

FRAMES = 8

Task = Literal["interpolation", "prediction", "generation"]
TASKS: tuple[Task, ...] = ("interpolation", "prediction", "generation")


@dataclass(frozen=True)
class Configuration:
    """What is asked of a clip.

    Attributes:
        task: which of the three.
        given: the condition mask over its k frames.
        text: whether the caption is given.
    """

    task: Task
    given: tuple[bool, ...]
    text: bool = True

    @property
    def frames(self) -> int:
        """k, the frames that the clip is cut to."""
        return len(self.given)


@cache
def configurations(fewest: int, most: int) -> tuple[Configuration, ...]:
    """All configurations of k frames, for each k of a range: the patterns of table 7 of RDTF, cut to k.

    Of k = 8 frames, interpolation is given 01010101, 10101010 or 10010010, prediction 11111000 or 00111111, generation the
    first or the third frame, each with and without its caption. For fewer frames the patterns of interpolation are cut, and
    prediction is given the same shares, rounded (a reconstruction; table 7 shows k = 8). Interpolation needs three frames.
    """
    found: dict[Configuration, None] = {}
    for count in range(fewest, most + 1):
        places = range(count)
        alternating = [tuple(place % 2 == phase for place in places) for phase in (1, 0)]
        thirds = tuple(place % 3 == 0 for place in places)
        before, behind = -(-5 * count // 8), max(1, count // 4)
        masks: list[tuple[Task, tuple[bool, ...]]] = []
        if count > 2:
            masks += [("interpolation", mask) for mask in (*alternating, thirds)]
        masks += [("prediction", tuple(place < before for place in places))] if before < count else []
        masks += [("prediction", tuple(place >= behind for place in places))]
        found |= {Configuration(task, mask): None for task, mask in masks}
        for first in (0, 2):
            if first < count:
                mask = tuple(place == first for place in places)
                found |= {Configuration("generation", mask, text): None for text in (True, False)}
    return tuple(found)


def static_entropy(given: Tensor, valid: Tensor) -> Tensor:
    """How much is unknown in a clip: h = Σ log₂(1 + d_f) / (F log₂(1 + F)) over valid frames that are not given, in [0, 1].

    d_f is the distance to the nearest given frame, F where there is none: about the log-variance of a random walk. A
    reconstruction: the paper's static entropy was not read.

    Args:
        given: condition masks ``[…, F]``, bool.
        valid: loss masks ``[…, F]``, bool.
    """
    count = given.shape[-1]
    places = torch.arange(count, device=given.device)
    gaps = (places[:, None] - places).abs().expand(*given.shape, count)
    nearest = gaps.masked_fill(~given[..., None, :], count).amin(-1)
    hard = (1 + nearest.double()).log2() * (valid & ~given)
    return hard.sum(-1) / (count * (1 + torch.tensor(float(count), dtype=torch.float64)).log2())


@dataclass(frozen=True)
class Catalogue:
    """Configurations as tensors, and how they are drawn for clips of every length.

    Attributes:
        given: condition masks ``[C, F]``, bool.
        valid: loss masks ``[C, F]``, bool: the first k slots.
        text: whether the caption is given ``[C]``, bool.
        entropy: h ``[C]``, float64.
        shares: how often each is drawn for a clip of L frames without a curriculum ``[F + 1, C]``, rows of sum 1 from L = 2 on.
    """

    given: Tensor
    valid: Tensor
    text: Tensor
    entropy: Tensor
    shares: Tensor


def catalogue(fewest: int, most: int, task_shares: Sequence[float]) -> Catalogue:
    """The configurations for k uniform in a range, where a clip of fewer frames than k keeps all that it has.

    Args:
        fewest: least k.
        most: largest k, at most F.
        task_shares: of interpolation, prediction and generation, proportional; a task that a clip is too short for is left out.
    """
    known = configurations(2, FRAMES)
    given = torch.zeros(len(known), FRAMES, dtype=torch.bool)
    for row, found in enumerate(known):
        given[row, : found.frames] = torch.tensor(found.given)
    frames = torch.tensor([found.frames for found in known])
    valid = torch.arange(FRAMES) < frames[:, None]
    kind = torch.tensor([TASKS.index(found.task) for found in known])
    # Of the patterns of one task and one k, all alike.
    same = (kind[:, None] == kind) & (frames[:, None] == frames)
    pattern = torch.tensor(task_shares, dtype=torch.float64)[kind] / same.sum(1)
    shares = torch.zeros(FRAMES + 1, len(known), dtype=torch.float64)
    for length in range(2, FRAMES + 1):
        for drawn in range(fewest, most + 1):
            here = (frames == min(drawn, length)) * pattern
            shares[length] += here / here.sum().clamp_min(torch.finfo(here.dtype).tiny)
    shares /= shares.sum(1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
    return Catalogue(given, valid, torch.tensor([found.text for found in known]), static_entropy(given, valid), shares)
