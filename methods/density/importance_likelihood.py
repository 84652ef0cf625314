"""Maximum likelihood with the normalizer of each mini-batch: the baseline of the density track."""

from typing import ClassVar

from regbench.methods.density.task import DensityMethod
from regbench.methods.method import Paper


class ImportanceLikelihood(DensityMethod):
    """Minimizes -mean h(x) + log mean_j w_j, with w = e^h / q on a mini-batch of noise.

    The logarithm of a mean over B₂ samples is too small by about Var(w) / (2 B₂ Z²), which biases the model: the bias that
    compositional optimization removes.
    """

    paper: ClassVar[Paper | None] = None
