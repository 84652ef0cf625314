"""Optimal transport by linear programming: the baseline of the transport track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.transport.task import TransportMethod


class ExactTransport(TransportMethod):
    """Solves min ⟨T, C⟩ over the transport polytope exactly; no regularizer, so its penalized gap is 0 up to rounding."""

    paper: ClassVar[Paper | None] = None
