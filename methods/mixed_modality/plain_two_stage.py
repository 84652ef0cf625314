"""Both stages with plain cross-entropy on clean images: the baseline of the mixed-modality track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.mixed_modality.task import MixedModalityMethod


class PlainTwoStage(MixedModalityMethod):
    """Minimizes cross-entropy on clean images in pre-training and in fine-tuning, for as many epochs as every other method.

    Each method of the track is compared with it, so that no gain can come from the second stage or from averaging weights.
    """

    paper: ClassVar[Paper | None] = None
