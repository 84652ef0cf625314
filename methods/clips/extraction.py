"""Clips cut to fewer frames: similar frames are grouped, and each group sends one."""

import torch
from torch import Tensor


def representative_frames(features: Tensor, lengths: Tensor) -> Tensor:
    """Which frames stand for a clip that is cut to k of them, for every k at once.

    Frames are grouped by Ward's method, which from single frames on merges the two groups whose union adds least to the
    objective of k-means; so there are k groups of every clip, of one with equal frames too. The frame nearest its group's mean
    stands for it, of two the earlier one. RDTF clusters frames into k groups and takes one of each; by which method, in which
    features and which one is a reconstruction.

    Args:
        features: of frames ``[N, F, D]``.
        lengths: how many frames of each clip are valid ``[N]``, int64.

    Returns:
        ``[N, F + 1, F]``, int64: at ``[n, k]`` the k chosen frames in the order of time, then -1; for k above the length, all.
    """
    count, slots, _ = features.shape
    points = features.double()
    valid = torch.arange(slots, device=features.device) < lengths[:, None]
    points = torch.where(valid[..., None], points, 0.0)
    member = torch.diag_embed(valid)  # [N, group, frame]
    chosen = torch.full((count, slots + 1, slots), -1, device=features.device)
    for groups in range(slots, 0, -1):
        picked = _nearest_members(points, member)
        here = lengths == groups
        # A clip takes part from its own number of frames on.
        active = lengths >= groups
        chosen[active, groups] = picked[active]
        chosen[here, groups:] = picked[here][:, None]
        member = torch.where(active[:, None, None], _merged(points, member), member)
    return chosen


def _means(points: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """Sizes ``[N, G]`` and means ``[N, G, D]`` of groups."""
    sizes = member.sum(2)
    return sizes, member.double() @ points / sizes.clamp_min(1)[..., None]


def _nearest_members(points: Tensor, member: Tensor) -> Tensor:
    """The frame of each group that is nearest its mean, in the order of time, -1 for groups without any; ``[N, G]``."""
    slots = points.shape[1]
    sizes, means = _means(points, member)
    gaps = torch.cdist(means, points).masked_fill(~member, torch.inf)
    # Gaps that differ by rounding alone are ties, of which the earliest counts.
    least = gaps.amin(2, keepdim=True)
    first = ((gaps <= least * (1 + 1e-9) + 1e-12) & member).int().argmax(2)
    ordered = torch.where(sizes > 0, first, slots).sort(1).values
    return torch.where(ordered < slots, ordered, -1)


def _merged(points: Tensor, member: Tensor) -> Tensor:
    """The groups after the two whose union adds least to the squared distances from means have become one."""
    slots = points.shape[1]
    sizes, means = _means(points, member)
    there = sizes > 0
    both = there[:, :, None] & there[:, None] & torch.ones(slots, slots, dtype=torch.bool, device=points.device).triu(1)
    product, total = sizes[:, :, None] * sizes[:, None], sizes[:, :, None] + sizes[:, None]
    added = torch.where(both, product / total.clamp_min(1) * torch.cdist(means, means).square(), torch.inf)
    pair = added.flatten(1).argmin(1)
    kept, gone = pair // slots, pair % slots
    rows = torch.arange(len(points), device=points.device)
    united = member.clone()
    united[rows, kept] |= member[rows, gone]
    united[rows, gone] = False
    return torch.where(both.flatten(1).any(1)[:, None, None], united, member)


def gather_frames(clips: Tensor, chosen: Tensor) -> Tensor:
    """Frames ``[B, F, …]`` of clips ``[B, F, …]`` at places ``[B, F]``, zeros where these are -1."""
    shape = (*chosen.shape, *(1 for _ in clips.shape[2:]))
    index = chosen.clamp_min(0).reshape(shape)
    return torch.where((chosen >= 0).reshape(shape), clips.gather(1, index.expand(-1, -1, *clips.shape[2:])), 0.0)
