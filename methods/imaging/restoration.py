"""From a denoiser to a restored image: itself where the data are noisy images, plug and play where they are measurements."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.imaging.task import judge
from regbench.methods.method import Method, Metrics, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.proximal.operators import Measurement
from regbench.methods.shared.proximal.plug_and_play import box, plug_and_play_admm, plug_and_play_gradient


class Restoration(Method):
    """Judges a denoiser f by what it restores.

    Data sets with an ``operator`` A in their facts have measurements b = Ax + noise to validate and test with, and noisy images
    to train with. There f stands in the place of the proximal operator of a regularizer R, in ADMM for
    s ‖Ax - b‖² + ρ R(x) or in proximal gradient descent, from Aᵀb / ‖A‖² for all. Only s/ρ counts, since f does not know ρ.
    """

    loop: Literal["admm", "gradient"] = hyperparameter(
        "admm", help="of measurements: alternating directions, or proximal gradient descent"
    )
    admm_penalty: float = hyperparameter(0.1, gt=0, help="ρ of ADMM; what counts is s/ρ")
    data_fidelity_scale: float = hyperparameter(0.5, gt=0, help="s, weight of the squared residual of measurements in ADMM")
    gradient_step_size: float = hyperparameter(0.99, gt=0, help="η ‖A‖² of gradient descent; below 1 it converges")
    loop_iterations: int = hyperparameter(20, ge=1, help="of either loop")
    box_constraint: bool = hyperparameter(False, help="ADMM keeps pixels in [0, 1] by a second proximal operator")

    def assess(self, denoise: Callable[[Tensor], Tensor], split: TensorDataset, run: Run) -> Metrics:
        """Metrics of what is restored of a split.

        Args:
            denoise: f, maps images ``[B, C, H, W]`` to such.
            split: what was observed, and clean images.
            run: where it happens.
        """
        operator = run.data.meta.get("operator")
        restore = denoise if operator is None else lambda b: self.restore(denoise, operator, b)
        return judge(restore, split, run)

    def restore(self, denoise: Callable[[Tensor], Tensor], operator: Measurement, b: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` from measurements ``[B, ...]``."""
        start = operator.adjoint(b) / operator.squared_norm
        if self.loop == "gradient":
            step = self.gradient_step_size / operator.squared_norm
            return plug_and_play_gradient(denoise, operator, b, start, step_size=step, iterations=self.loop_iterations).x
        return plug_and_play_admm(
            [denoise, box] if self.box_constraint else denoise,
            operator,
            b,
            start,
            penalty=self.admm_penalty,
            scale=self.data_fidelity_scale,
            iterations=self.loop_iterations,
        ).x
