"""Sinkhorn distances: entropic optimal transport."""

from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.transport.task import Solution, TransportMethod, relative


class Sinkhorn(TransportMethod):
    """Minimizes ⟨T, C⟩ + ε Σ_ij T_ij (log T_ij - 1) over the transport polytope by matrix scaling (Cuturi, 2013; ε = 1/λ).

    The plan is T_ij = exp((f_i + g_j - C_ij) / ε), dense; each iteration fits the column sums, then the row sums.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", "Cuturi", 2013, "NeurIPS", "1306.0895"
    )

    entropic_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="ε", differentiable=True, help="strength of the entropy, relative to the largest cost"
    )
    solver_steps: int = hyperparameter(1000, ge=1, help="at most so many iterations")
    tolerance: float = hyperparameter(1e-9, gt=0, help="column error (L1) at which the iteration stops")

    def solve(self, cost: Tensor, a: Tensor, b: Tensor, weights: SimpleNamespace) -> Solution:
        """Sinkhorn's iteration in the log domain, where small ε does not underflow; the exact plan for ε = 0."""
        if not weights.entropic_weight:
            return super().solve(cost, a, b, weights)
        scaled = relative(cost) / weights.entropic_weight
        f, steps = torch.zeros_like(a), 0
        while True:
            g = b.log() - (f[:, None] - scaled).logsumexp(0)
            f = a.log() - (g[None, :] - scaled).logsumexp(1)
            plan = (f[:, None] + g[None, :] - scaled).exp()
            steps += 1
            if steps == self.solver_steps or (plan.sum(0) - b).abs().sum() <= self.tolerance:
                return Solution(plan, steps)
