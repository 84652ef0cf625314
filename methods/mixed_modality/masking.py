"""What methods share that multiply the images of pre-training with noise masks."""

import math
from typing import Any

from pydantic import field_validator
from torch import Tensor

from regbench.methods.method import hyperparameter, weight
from regbench.methods.mixed_modality import masks
from regbench.methods.mixed_modality.task import MixedModalityMethod


class MaskingMethod(MixedModalityMethod):
    """Pre-trains on x ⊙ ((1 - λ) + λ m̃), where m̃ is a random grid m ∈ (0, 1)^(G x G), enlarged and blurred.

    One mask for each image, the same for its channels. λ is the platform's: 1 is the paper's full mask, 0 no mask.
    """

    mask_strength: float = weight(
        1.0,
        off=0.0,
        ge=0,
        le=1,
        symbol="λ",
        differentiable=True,
        help="how far an image is multiplied by its mask; 0: not at all",
    )
    grid_size: int = hyperparameter(4, ge=1, help="cells G of a mask along each side")
    blur_kernel: int = hyperparameter(3, ge=1, help="width k of the Gaussian that blurs masks, in pixels, odd; 1: no blur")
    blur_sigma: float = hyperparameter(
        1.0, gt=0, may_change=True, help="standard deviation s of that Gaussian, in pixels; the kernel truncates it"
    )

    @field_validator("blur_kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"blur_kernel must be odd, not {value}")
        return value

    def masked(self, x: Tensor, cells: Tensor, strength: Any) -> Tensor:
        """Images ``[B, C, H, W]`` under masks of these cells ``[B, M]``, M = G²."""
        size = math.isqrt(cells.shape[1])
        mask = masks.blur(masks.enlarge(cells.view(-1, size, size), x.shape[2:]), self.blur_kernel, self.blur_sigma)
        return masks.apply(x, mask, strength)
