"""SimGCD: the baseline of the discovery track."""

from typing import ClassVar

from regbench.methods.discovery.task import DiscoveryMethod
from regbench.methods.method import Paper


class SimGCD(DiscoveryMethod):
    """A cosine classifier of known and novel classes by self-distillation between views, and labels where there are some.

    L = (1 - λ) (L^u_rep + L^u_cls + ε (log K - H(p̄))) + λ (L^s_rep + L^s_cls): contrast of views, contrast of labels,
    cross-entropy of a view with the other view's sharpened prediction, maximal entropy of the mean prediction, and
    cross-entropy of labels.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Parametric Classification for Generalized Category Discovery: A Baseline Study",
        "Wen, Zhao, Qi",
        2023,
        "ICCV",
        "2211.11727",
    )
