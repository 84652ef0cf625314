"""Mixed precision: a network that computes in bfloat16, and is seen from outside as one of single precision."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


class MixedPrecision(nn.Module):
    """Runs a network under ``torch.autocast`` to bfloat16, and gives its outputs in single precision.

    Only the network is concerned: losses, regularizers and the optimizer compute in single precision, as the papers' formulas
    need. bfloat16 has the range of float32, so that no gradient has to be scaled.

    Args:
        network: its output is a tensor, or a data class or tuple of tensors.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        """What the network gives, in single precision."""
        with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
            found = self.network(*inputs)
        return _single(found)


def _single(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _single(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, tuple):
        parts = map(_single, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
