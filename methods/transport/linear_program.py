"""Optimal transport without regularization, as a linear program."""

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron, vstack
from torch import Tensor


def solve_exactly(cost: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, int]:
    """Solves min ⟨T, C⟩ over T ≥ 0 with T1 = a and Tᵀ1 = b by the dual simplex method of HiGHS.

    Args:
        cost: C ``[m, n]``.
        a: masses of the rows ``[m]``.
        b: masses of the columns ``[n]``, of the same sum.

    Returns:
        A plan ``[m, n]`` that is a vertex of the transport polytope (at most m + n - 1 nonzeros), on the device of ``cost``,
        and the number of simplex iterations.

    Raises:
        RuntimeError: there is no such plan, because ``a`` and ``b`` differ in sum or hold negative masses.
    """
    plan, _, iterations = solve_with_potentials(cost, a, b)
    return plan, iterations


def solve_with_potentials(cost: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, int]:
    """The same with the optimal dual potentials, α then β ``[m + n]``, in the second place."""
    m, n = cost.shape
    rows = kron(eye_array(m), np.ones((1, n)))
    columns = kron(np.ones((1, m)), eye_array(n))
    masses = torch.cat([a, b]).cpu().numpy()
    result = linprog(cost.flatten().cpu().numpy(), A_eq=vstack([rows, columns]), b_eq=masses, method="highs-ds")
    if not result.success:
        raise RuntimeError(f"the transport problem has no solution: {result.message}")
    potentials = torch.from_numpy(result.eqlin.marginals).to(cost)
    return torch.from_numpy(result.x).reshape(m, n).to(cost), potentials, int(result.nit)
