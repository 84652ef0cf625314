"""Inner products of each sample: axis 0 of a tensor counts samples, whose lower problems are independent of each other."""

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """⟨a_i, b_i⟩ of tensors ``[N, ...]``, ``[N]``."""
    return (a * b).reshape(len(a), -1).sum(1)


def norm(a: Tensor) -> Tensor:
    """‖a_i‖ of a tensor ``[N, ...]``, ``[N]``."""
    return torch.linalg.vector_norm(a.reshape(len(a), -1), dim=1)


def spread(scalars: Tensor, like: Tensor) -> Tensor:
    """Scalars ``[N]`` in a shape that multiplies a tensor ``[N, ...]``."""
    return scalars.reshape(-1, *(1,) * (like.dim() - 1))
