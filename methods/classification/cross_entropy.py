"""Plain cross-entropy training: the baseline of the classification track."""

from typing import ClassVar

from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.method import Paper


class CrossEntropy(ClassificationMethod):
    """Minimizes cross-entropy with the track's optimizer and weight decay; no further regularizer.

    Every method of the track is compared with it, tuned under the same budget.
    """

    paper: ClassVar[Paper | None] = None
