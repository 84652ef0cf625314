"""Linear operators between successive states, in the row convention: z_{t+1} ≈ z_t K."""

import torch
from torch import Tensor


def ridge_operators(z: Tensor, following: Tensor, ridge: float) -> Tensor:
    """The ridge regression K_b = (Z_bᵀ Z_b + r I)⁻¹ Z_bᵀ Z_b⁺ of each window.

    Args:
        z: latents ``[B, T, d]``.
        following: the latents one step later ``[B, T, d]``.
        ridge: r.

    Returns:
        ``[B, d, d]``.
    """
    steps, width = z.shape[1:]
    transposed = z.mT
    if steps < width:
        # The same matrix, Zᵀ (Z Zᵀ + r I)⁻¹ Z⁺, from the smaller system.
        gram = z @ transposed + ridge * torch.eye(steps, dtype=z.dtype, device=z.device)
        return transposed @ torch.linalg.solve(gram, following)
    gram = transposed @ z + ridge * torch.eye(width, dtype=z.dtype, device=z.device)
    return torch.linalg.solve(gram, transposed @ following)


def least_squares(z: Tensor, following: Tensor, ridge: float = 0.0) -> Tensor:
    """The smallest K ``[d, d]`` of least mean ‖z_{t+1} - z_t K‖² + r ‖K‖² over rows ``[M, d]``, in float64."""
    z, following = z.double(), following.double()
    gram = z.T @ z / len(z) + ridge * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return torch.linalg.pinv(gram, rtol=1e-12, hermitian=True) @ (z.T @ following / len(z))
