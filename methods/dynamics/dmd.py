"""Dynamic mode decomposition: the best linear forecast of states."""

from typing import ClassVar

from torch import Tensor

from regbench.methods.dynamics.linear import LinearForecast, leading_directions
from regbench.methods.dynamics.metrics import Map
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.run import Run


class DMD(LinearForecast):
    """min_K Σ ‖z_{t+1} - z_t K‖² with z = x V_r, V_r the r leading right singular vectors of the training states; x̂ = z V_rᵀ.

    Projected DMD, on deviations from the mean state. A rank below that of the data filters noise.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Dynamic mode decomposition of numerical and experimental data", "Schmid", 2010, "Journal of Fluid Mechanics"
    )

    rank: int = hyperparameter(10, ge=1, help="largest number r of directions")

    def coordinates(self, x: Tensor, run: Run) -> tuple[Map, Map]:
        """Projections onto leading directions."""
        V = leading_directions(x, self.rank)
        return lambda states: states @ V, lambda z: z @ V.T
