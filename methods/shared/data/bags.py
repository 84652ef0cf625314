"""Bags for multiple-instance learning: sets of instances, each set with one label."""

import torch
from torch import Tensor
from torch.utils.data import TensorDataset


class Bags(TensorDataset):
    """A split of B bags, whose instances stand one bag after the other in one tensor; nothing is padded.

    A row is a bag: the place of its first instance, its number of instances, its label, each int64 ``[B]``.

    Args:
        instances: features of all instances ``[M, d]``.
        counts: instances in each bag ``[B]``, at least 1, with sum M.
        labels: of the bags ``[B]``.
        witnesses: which instances make their bag positive, bool ``[M]``; None where that is not known.

    Raises:
        ValueError: a bag is empty, or the counts are not those of the instances.

    Attributes:
        instances: a data set of its own, with rows ``(features [d], witness)`` or ``(features [d],)``.
    """

    def __init__(self, instances: Tensor, counts: Tensor, labels: Tensor, witnesses: Tensor | None = None) -> None:
        if counts.min() < 1 or counts.sum() != len(instances):
            raise ValueError(
                f"{len(instances)} instances cannot fill bags of {counts.sum()} in all, the smallest of {counts.min()}"
            )
        super().__init__(counts.cumsum(0) - counts, counts, labels)
        self.instances = TensorDataset(instances, *([] if witnesses is None else [witnesses]))


def pad(
    starts: Tensor, counts: Tensor, *, share: float = 1.0, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Where the instances of a batch of bags stand in the tensor of all instances, padded to its largest bag.

    Args:
        starts: place of each bag's first instance ``[B]``.
        counts: instances of each bag ``[B]``.
        share: of a bag's n instances, max(1, floor(share n)) are taken, drawn without replacement.
        generator: draws them, on the device of ``starts``; used for a share below 1 only.

    Returns:
        Places ``[B, N]``, all of them valid, and which of them are instances of the bag, bool ``[B, N]``.
    """
    offsets = torch.arange(int(counts.max()), device=starts.device).expand(len(starts), -1)
    if share < 1:
        # In double precision, as Python computes it: 0.29 of 100 is 28.
        kept = (counts.double() * share).long().clamp(min=1)
        random = torch.rand(offsets.shape, generator=generator, device=starts.device)
        # A random order of the bag; 2 puts what lies behind its end last.
        offsets = random.masked_fill(offsets >= counts[:, None], 2.0).argsort(1)[:, : int(kept.max())]
        counts = kept
    present = torch.arange(offsets.shape[1], device=starts.device) < counts[:, None]
    return starts[:, None] + torch.where(present, offsets, 0), present
