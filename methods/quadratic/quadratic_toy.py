"""The quadratic toy problem of MAID, learned by MAID or its competitors."""

from typing import ClassVar

from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.method import Metrics, Paper, Track, hyperparameter
from regbench.methods.quadratic.task import TRACK, drawn, gap
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.learning import DTYPES, LEARNER_HELP, LearnedMethod, LearnerName
from regbench.methods.shared.bilevel.maid import PAPER
from regbench.methods.shared.bilevel.quadratic import Quadratic


class QuadraticToy(LearnedMethod):
    """min_θ ½ ‖A₁x̂(θ) - b₁‖², where x̂(θ) minimizes ½ ‖A₂x + A₃θ - b₂‖² (Salehi et al., section 4.1).

    Uniform matrices of 1000 rows and 10 columns, data of known solutions with noise 0.01; a run's seed draws the problem. Both
    levels have closed forms, so that ``gap``, the upper loss above its minimum, is exact. The minimizer is hundreds away along
    flat directions, and nobody comes there: compare gaps at equal budget. The problem is solved, not generalized from, so that
    validation and test metrics are the same. It has no regularization weight.
    """

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = PAPER

    box: ClassVar[tuple[float, float] | None] = None
    search_range: ClassVar[tuple[float, float] | None] = (-10.0, 10.0)
    bounds_jacobian: ClassVar[bool] = True

    learner: LearnerName = hyperparameter("maid", help=LEARNER_HELP)
    budget: int = hyperparameter(6_000, ge=1, help="lower iterations and Hessian products that learning may take")

    @property
    def learns(self) -> bool:
        """Whether there is a learner: there is always something to learn."""
        return self.learner != "none"

    def problem(self, run: Run) -> Quadratic:
        """The run's problem, in the precision of the settings."""
        return drawn(run).to(DTYPES[self.precision])

    def evaluate(self, theta: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """The gap at θ, in double precision."""
        return {"gap": gap(drawn(run), theta.double())}
