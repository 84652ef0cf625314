"""Invertible image rescaling: what a small image loses goes into a latent that enlarging can do without."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.rescaling.task import RescalingMethod


class IRN(RescalingMethod):
    """Shrinks and enlarges by one invertible network (y, z) = f(x): y is to look like the bicubic image, z to be noise.

    L = λ_fit ‖y - y_bicubic‖² + λ_rec Σ √((f⁻¹(ŷ, z') - x)² + 1e-6) + λ_ce ‖z‖² with ŷ in 8 bits and z' ~ N(0, g² I) fresh, as
    released.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Invertible Image Rescaling", "Xiao, Zheng, Liu, Wang, He, Ke, Bian, Lin, Liu", 2020, "ECCV", "2005.05650"
    )
