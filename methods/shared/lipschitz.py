"""How steep a critic is, and what steepness costs: gradient penalties (Gulrajani et al., NeurIPS 2017)."""

import torch
from torch import Tensor

from regbench.methods.shared.numerics import in_double

# Under the root of a squared norm, whose root has no slope at 0.
UNDER_ROOT = 1e-12


def slope_norms(scores: Tensor, *inputs: Tensor) -> Tensor:
    """The norm of each score's gradient in its own row of all inputs together, ``[B]``, through which gradients pass.

    √(Σ_inputs ‖∂f_i / ∂x_i‖² + 1e-12): the norm is joint, so that no input is left free.

    Args:
        scores: ``[B]``, each a function of its own row of the inputs alone (no batch normalization).
        *inputs: ``[B, …]``, with gradient.
    """
    slopes = torch.autograd.grad(scores.sum(), inputs, create_graph=True)
    return joint_norm(*(slope.flatten(1) for slope in slopes))


@in_double
def joint_norm(*rows: Tensor) -> Tensor:
    """√(Σ ‖row‖² + 1e-12) over several tables ``[B, D]`` together, ``[B]``; squares are taken in double precision."""
    return torch.stack([row.square().sum(1) for row in rows]).sum(0).add(UNDER_ROOT).sqrt()


def lipschitz_penalty(norms: Tensor, constant: float | Tensor = 1.0, *, one_sided: bool = False) -> Tensor:
    """(‖∇f‖ - K)² of each norm ``[B]``, or where it is one-sided max(0, ‖∇f‖ - K)²."""
    excess = norms - constant
    return (excess.clamp(min=0) if one_sided else excess).square()
