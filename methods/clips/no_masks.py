"""Training on complete clips alone: the baseline of the clips track."""

from typing import ClassVar

from torch import Tensor

from regbench.methods.clips.masks import FRAMES
from regbench.methods.clips.task import ClipMethod
from regbench.methods.method import Paper


class NoMasks(ClipMethod):
    """Learns generation from one given frame, from clips that fill all frames; shorter ones are of no use to it.

    The frame network alone, without the loss mask, which would make short clips usable, and without condition masks of other
    tasks: the first row of the ablation of RDTF.
    """

    paper: ClassVar[Paper | None] = None

    def clips(self, lengths: Tensor) -> Tensor:
        """The complete ones."""
        return (lengths == FRAMES).nonzero()[:, 0]
